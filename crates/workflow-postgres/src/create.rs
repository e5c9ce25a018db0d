//! Creating runs: many at a time, in one statement.

use std::borrow::Cow;
use std::collections::HashMap;

use tokio_postgres::types::Type;
use workflow_engine::store::{Claim, Created, NewRun, Record};
use workflow_engine::{RunKey, Status, StoreError};

use crate::columns::Columns;
use crate::db::{Answers, Db, Parameter};
use crate::error::OperationError;
use crate::error::sqlstate::store_error;
use crate::row;
use crate::text::escape;
impl Db {
    pub(crate) async fn create(
        &self,
        group: &[NewRun],
    ) -> Result<Answers<Created>, OperationError> {
        let check = |new: &NewRun| {
            Status::check(None, new.status).map_err(StoreError::from)?;
            Record::follow(RunKey(0), 0, std::slice::from_ref(&new.record))
        };
        let checks: Vec<_> = group.iter().map(check).collect();
        let good: Vec<_> = group
            .iter()
            .zip(&checks)
            .filter(|(_, check)| check.is_ok())
            .map(|(new, _)| new)
            .collect();
        // Every writer creates in the same order, so that two writers of the same ids do not
        // deadlock.
        let mut good = good;
        good.sort_by_key(|new| &new.id);
        let mut columns = Columns::default();
        let unknown = Claim {
            key: RunKey(0),
            epoch: 0,
        };
        good.iter()
            .for_each(|new| columns.push(unknown, &new.record));
        let id: Vec<_> = group.iter().map(|new| escape(&new.id)).collect();
        let mut created = HashMap::new();
        if !good.is_empty() {
            let ids: Vec<_> = good.iter().map(|new| escape(&new.id)).collect();
            let workflow: Vec<_> = good.iter().map(|new| escape(&new.workflow)).collect();
            let execution: Vec<_> = good
                .iter()
                .map(|new| new.execution_id.as_deref().map(escape))
                .collect();
            let status: Vec<_> = good.iter().map(|new| new.status.stored_name()).collect();
            let holder = |new: &&NewRun| {
                (new.status == Status::Running).then(|| escape(&new.worker).into_owned())
            };
            let worker: Vec<_> = good.iter().map(holder).collect();
            let mut parameters: Vec<Parameter<'_>> = vec![
                (&ids, Type::TEXT_ARRAY),
                (&workflow, Type::TEXT_ARRAY),
                (&execution, Type::TEXT_ARRAY),
                (&status, Type::TEXT_ARRAY),
                (&worker, Type::TEXT_ARRAY),
                (&self.session, Type::INT8),
            ];
            parameters.extend(columns.parameters());
            for row in self.query(&self.sql.create, &parameters).await? {
                let claim = Claim {
                    key: RunKey(row::unsigned(&row, 1)?),
                    epoch: row::unsigned(&row, 2)?,
                };
                created.insert(row::column::<String>(&row, 0)?, claim);
            }
        }
        let taken: Vec<_> = id
            .iter()
            .filter(|id| !created.contains_key(&***id))
            .collect();
        let mut existing = HashMap::new();
        if !taken.is_empty() {
            match self
                .query(&self.sql.runs_by_id, &[(&taken, Type::TEXT_ARRAY)])
                .await
            {
                Ok(rows) => {
                    for row in rows {
                        existing.insert(
                            row::column::<String>(&row, 1)?,
                            row::run(&row).map(|(run, _)| run),
                        );
                    }
                }
                // The created runs stand; only those that were not created fail.
                Err(error) => existing.extend(
                    taken
                        .iter()
                        .map(|id| (id.to_string(), Err(store_error(&error)))),
                ),
            }
        }
        // A taken id is reported first, also for a run that could not be created.
        let answer = |(id, check): (&Cow<'_, str>, Result<(), StoreError>)| {
            let exists = existing
                .remove(&**id)
                .map(|run| run.map(|run| Created::Exists(Box::new(run))));
            match (created.get(&**id), exists, check) {
                (Some(claim), ..) => Some(Ok(Created::New(*claim))),
                (None, Some(exists), _) => Some(exists),
                (None, None, Err(error)) => Some(Err(error)),
                // The id was taken by a run that was purged before it was read.
                (None, None, Ok(())) => None,
            }
        };
        Ok(id.iter().zip(checks).map(answer).collect())
    }
}
