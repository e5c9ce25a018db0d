//! Claims: claiming, releasing and listing runs that a worker holds.

use futures::future::{join3, join4};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use workflow_engine::store::{Claim, ClaimRequest, Claimed, Claims, Due};
use workflow_engine::{Run, StoreError};

use crate::db::Db;
use crate::error::OperationError;
use crate::leases::readable_time;
use crate::reader::Reader;
use crate::row::{self, signed};
use crate::text::{escape, unescape};

/// The most names of unknown workflows in a result.
const MAX_UNKNOWN_WORKFLOWS: usize = 16;

impl Db {
    pub(crate) async fn claim(&self, request: &ClaimRequest) -> Result<Claims, OperationError> {
        let (now, worker) = (request.now.as_millis(), escape(&request.worker));
        // Each statement sees the effect of those before it, and every write of the workers that
        // were marked.
        let dead = [(&now as _, Type::INT8), (&worker as _, Type::TEXT)];
        let (shortened, marked, swept, workflows) = join4(
            self.query(&self.sql.shorten_leases, &[]),
            self.query(&self.sql.expire_leases, &dead),
            self.query(&self.sql.expire_runs, &[]),
            self.query(&self.sql.workflows, &dead[..1]),
        )
        .await;
        shortened?;
        marked?;
        swept?;
        match &request.run {
            Some(id) => self.claim_one(request, id).await,
            None => self.claim_any(request, &workflows?).await,
        }
    }

    async fn claim_any(
        &self,
        request: &ClaimRequest,
        workflows: &[Row],
    ) -> Result<Claims, OperationError> {
        let (now, worker) = (request.now.as_millis(), escape(&request.worker));
        let (mut claims, mut wanted) = (Claims::default(), Vec::new());
        for row in workflows {
            let (name, due) = (row::column::<String>(row, 0)?, row::column::<bool>(row, 2)?);
            if request
                .workflows
                .as_ref()
                .is_none_or(|names| names.iter().any(|wanted| escape(wanted) == name))
            {
                wanted.push(name);
            } else if due && claims.unknown.len() < MAX_UNKNOWN_WORKFLOWS {
                claims.unknown.push(unescape(name));
            }
        }
        let requested: Option<Vec<_>> = request
            .workflows
            .as_ref()
            .map(|names| names.iter().map(|name| escape(name)).collect());
        let limit = signed(request.limit).min(1 << 32);
        let claim = async {
            if wanted.is_empty() || limit == 0 {
                return Ok(Vec::new());
            }
            let parameters = [
                (&now as _, Type::INT8),
                (&worker as _, Type::TEXT),
                (&wanted as _, Type::TEXT_ARRAY),
                (&limit as _, Type::INT8),
                (&self.session as _, Type::INT8),
            ];
            self.query(&self.sql.claim, &parameters).await
        };
        // The rest is read after the claim.
        let (taken, left, lease) = join3(
            claim,
            self.query(&self.sql.workflows, &[(&now, Type::INT8)]),
            self.query(
                &self.sql.first_lease,
                &[
                    (&now, Type::INT8),
                    (&worker, Type::TEXT),
                    (&requested, Type::TEXT_ARRAY),
                ],
            ),
        )
        .await;
        let mut taken: Vec<_> = taken?.iter().filter_map(readable).collect();
        if !taken.is_empty() && (left.is_err() || lease.is_err()) {
            // The runs are claimed in any case; the worker polls again soon.
            claims.runs = taken.into_iter().map(|(claimed, _)| claimed).collect();
            return Ok(claims);
        }
        taken.sort_by_key(|(claimed, was_due)| (*was_due, claimed.run.key));
        claims.runs = taken.into_iter().map(|(claimed, _)| claimed).collect();
        // A time that cannot be read is passed over, because runs are claimed already.
        let leases = lease?
            .iter()
            .map(|row| row::optional_timestamp(row, 0, || "workers: until".into()))
            .collect::<Vec<_>>();
        let left = left?;
        let of_these = left.iter().filter(|row| {
            let name = row::column::<&str>(row, 0).unwrap_or_default();
            requested
                .as_ref()
                .is_none_or(|requested| requested.iter().any(|wanted| *wanted == name))
        });
        let dues = of_these.map(|row| row::optional_timestamp(row, 1, || "runs: due_at".into()));
        claims.next_due = leases
            .into_iter()
            .chain(dues)
            .filter_map(readable_time)
            .flatten()
            .min();
        Ok(claims)
    }

    /// Claims one run. The run is read first, because a claim of a run that cannot be read would be
    /// useless.
    async fn claim_one(&self, request: &ClaimRequest, id: &str) -> Result<Claims, OperationError> {
        let (now, worker, id) = (request.now.as_millis(), escape(&request.worker), escape(id));
        let requested: Option<Vec<_>> = request
            .workflows
            .as_ref()
            .map(|names| names.iter().map(|name| escape(name)).collect());
        let mut claims = Claims::default();
        if self.run(&id).await?.is_none() {
            return Ok(claims);
        }
        if request.limit > 0 {
            let parameters = [
                (&now as _, Type::INT8),
                (&worker as _, Type::TEXT),
                (&id as _, Type::TEXT),
                (&requested as _, Type::TEXT_ARRAY),
                (&self.session as _, Type::INT8),
            ];
            let taken = self.query(&self.sql.claim_one, &parameters).await?;
            claims.runs.extend(
                taken
                    .iter()
                    .filter_map(readable)
                    .map(|(claimed, _)| claimed),
            );
            if !taken.is_empty() {
                return Ok(claims);
            }
        }
        let Some((run, is_ready)) = self.run(&id).await? else {
            return Ok(claims);
        };
        let own = run.due_at.is_none() && run.worker.as_ref() == Some(&request.worker);
        if request
            .workflows
            .as_ref()
            .is_some_and(|names| !names.contains(&run.workflow))
        {
            let due = run
                .due_at
                .is_some_and(|due_at| is_ready || due_at <= request.now);
            claims.unknown.extend(due.then_some(run.workflow));
        } else if own && request.limit > 0 {
            return Err(StoreError::Backend("somebody has locked the run".into()).into());
        } else if !own {
            claims.next_due = match (run.due_at, &run.worker) {
                (None, Some(holder)) => self.lease(holder).await?,
                (due_at, _) if is_ready => due_at.map(|due_at| due_at.min(request.now)),
                (due_at, _) => due_at,
            };
        }
        Ok(claims)
    }

    /// Ends a claim.
    pub(crate) async fn release(&self, claim: Claim, due: Due) -> Result<(), OperationError> {
        let Claim { key, epoch } = claim;
        let parameters = [
            (&signed(key.0) as _, Type::INT8),
            (&signed(epoch) as _, Type::INT8),
            (&due.time().as_millis() as _, Type::INT8),
            (&self.workers.names() as _, Type::TEXT_ARRAY),
            (&matches!(due, Due::Now(_)) as _, Type::BOOL),
        ];
        if self
            .client
            .execute_typed(&self.sql.release, &parameters)
            .await?
            > 0
        {
            return Ok(());
        }
        let there = self.current(&[key]).await?.contains_key(&key);
        Err(if there {
            StoreError::Fenced { key, epoch }
        } else {
            StoreError::UnknownRun { key }
        }
        .into())
    }

    /// Returns a run, by its escaped id, and whether it is ready when it is not claimed.
    pub(crate) async fn run(&self, id: &str) -> Result<Option<(Run, bool)>, OperationError> {
        let rows = self.query(&self.sql.run, &[(&id, Type::TEXT)]).await?;
        let read = |row: &Row| Ok::<_, StoreError>((row::run(row)?.0, row::column(row, 15)?));
        Ok(rows.first().map(read).transpose()?)
    }
}

/// Returns a claimed run. A run that cannot be read stays with its worker, so that the others can
/// be claimed.
fn readable(row: &Row) -> Option<(Claimed, i64)> {
    claimed(row)
        .inspect_err(|error| tracing::error!(%error, "failed to read a run; it rests until this worker has ended"))
        .ok()
}

/// Reads a claimed run, and when it was due.
fn claimed(row: &Row) -> Result<(Claimed, i64), StoreError> {
    let (run, epoch) = row::run(row)?;
    let claim = Claim {
        key: run.key,
        epoch,
    };
    Ok((
        Claimed {
            claim,
            run,
            died: row::column(row, 15)?,
        },
        row::column(row, 16)?,
    ))
}

pub(crate) async fn held(reader: &Reader, worker: &str) -> Result<Vec<String>, StoreError> {
    let rows = reader
        .read(&reader.sql.held, &[(&escape(worker), Type::TEXT)])
        .await?;
    rows.iter()
        .map(|row| Ok(unescape(row::column(row, 0)?)))
        .collect()
}
