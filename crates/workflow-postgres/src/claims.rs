//! Claims and leases: who works on what.

use std::collections::HashMap;

use futures::future::{join, join3, join4};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use workflow_engine::store::{CancelReply, CancelRequest, Claim, ClaimRequest, Claimed, Claims};
use workflow_engine::{Run, RunKey, StoreError, Timestamp};

use crate::lane::{Fault, Lane};
use crate::row::{self, signed};
use crate::text::{escape, unescape};

/// How many names of unknown workflows are told.
const UNKNOWN: usize = 16;

impl Lane {
    pub(crate) async fn claim(&self, request: &ClaimRequest) -> Result<Claims, Fault> {
        let (now, worker) = (request.now.as_millis(), escape(&request.worker));
        // The second sees what the first has done, and everything that the marked workers have ever
        // done.
        let dead = [(&now as _, Type::INT8), (&worker as _, Type::TEXT)];
        let (shortened, marked, swept, workflows) = join4(
            self.query(&self.sql.set_back, &[]),
            self.query(&self.sql.mark_dead, &dead),
            self.query(&self.sql.sweep, &[]),
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

    async fn claim_any(&self, request: &ClaimRequest, workflows: &[Row]) -> Result<Claims, Fault> {
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
            } else if due && claims.unknown.len() < UNKNOWN {
                claims.unknown.push(unescape(name));
            }
        }
        let asked: Option<Vec<_>> = request
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
        // What is left is read behind the claim.
        let (taken, left, lease) = join3(
            claim,
            self.query(&self.sql.workflows, &[(&now, Type::INT8)]),
            self.query(
                &self.sql.first_lease,
                &[
                    (&now, Type::INT8),
                    (&worker, Type::TEXT),
                    (&asked, Type::TEXT_ARRAY),
                ],
            ),
        )
        .await;
        let mut taken: Vec<_> = taken?.iter().filter_map(readable).collect();
        if !taken.is_empty() && (left.is_err() || lease.is_err()) {
            // They are claimed, whatever comes next: the worker looks again soon enough.
            claims.runs = taken.into_iter().map(|(claimed, _)| claimed).collect();
            return Ok(claims);
        }
        taken.sort_by_key(|(claimed, was_due)| (*was_due, claimed.run.key));
        claims.runs = taken.into_iter().map(|(claimed, _)| claimed).collect();
        // What cannot be read is passed by, because runs are claimed by now.
        let leases = lease?
            .iter()
            .map(|row| row::maybe(row, 0, || "workers: until".into()))
            .collect::<Vec<_>>();
        let left = left?;
        let ours = left.iter().filter(|row| {
            let name = row::column::<&str>(row, 0).unwrap_or_default();
            asked
                .as_ref()
                .is_none_or(|asked| asked.iter().any(|wanted| *wanted == name))
        });
        let dues = ours.map(|row| row::maybe(row, 1, || "runs: due_at".into()));
        claims.next_due = leases
            .into_iter()
            .chain(dues)
            .filter_map(told)
            .flatten()
            .min();
        Ok(claims)
    }

    /// Claims one run. It is read first: a claim of one that cannot be read would be of no use to
    /// anybody.
    async fn claim_one(&self, request: &ClaimRequest, id: &str) -> Result<Claims, Fault> {
        let (now, worker, id) = (request.now.as_millis(), escape(&request.worker), escape(id));
        let asked: Option<Vec<_>> = request
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
                (&asked as _, Type::TEXT_ARRAY),
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

    /// Returns a run, by its escaped id, and whether it is ready once nobody holds it.
    async fn run(&self, id: &str) -> Result<Option<(Run, bool)>, Fault> {
        let rows = self.query(&self.sql.run, &[(&id, Type::TEXT)]).await?;
        let read = |row: &Row| Ok::<_, StoreError>((row::run(row)?.0, row::column(row, 15)?));
        Ok(rows.first().map(read).transpose()?)
    }

    /// Returns until when the lease of a worker lasts.
    async fn lease(&self, worker: &str) -> Result<Option<Timestamp>, Fault> {
        let rows = self
            .query(&self.sql.lease, &[(&escape(worker), Type::TEXT)])
            .await?;
        Ok(rows
            .first()
            .and_then(|row| told(row::maybe(row, 0, || format!("worker {worker}: until"))))
            .flatten())
    }

    pub(crate) async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, Fault> {
        let worker = escape(worker);
        self.workers.add(&worker);
        let parameters = [
            (&worker as _, Type::TEXT),
            (&until.as_millis() as _, Type::INT8),
            (&self.session as _, Type::INT8),
        ];
        let (renewed, cancels) = join(
            self.query(&self.sql.renew, &parameters),
            self.query(&self.sql.cancels, &parameters[..1]),
        )
        .await;
        if renewed?.is_empty() {
            // Its lease had run out, and what it held is to be made due before it has another one.
            self.query(&self.sql.sweep, &[]).await?;
            if self.query(&self.sql.renew, &parameters).await?.is_empty() {
                let held =
                    "a run is locked that is to be made due before this worker has a lease again";
                return Err(StoreError::Backend(held.into()).into());
            }
            return Ok(Vec::new());
        }
        let mut found = HashMap::new();
        for row in cancels? {
            // Whatever cannot be read of one run, the others are cancelled.
            match row::cancel(&row, 1) {
                Ok(cancel) => found.extend(
                    cancel
                        .zip(row::unsigned(&row, 0).ok())
                        .map(|(cancel, key)| (RunKey(key), cancel)),
                ),
                Err(error) => tracing::error!(%error, "a cancel cannot be read"),
            }
        }
        Ok(found.into_iter().collect())
    }

    pub(crate) async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), Fault> {
        let parameters = [
            (&escape(worker) as _, Type::TEXT),
            (&now.as_millis() as _, Type::INT8),
        ];
        let (retired, swept) = join(
            self.query(&self.sql.retire, &parameters),
            self.query(&self.sql.sweep, &[]),
        )
        .await;
        retired?;
        swept?;
        self.workers.remove(&escape(worker));
        Ok(())
    }

    pub(crate) async fn now(&self) -> Result<Timestamp, Fault> {
        let rows = self.query(&self.sql.now, &[]).await?;
        let now = rows
            .first()
            .map(|row| row::column(row, 0))
            .transpose()?
            .unwrap_or_default();
        Ok(row::timestamp(now, || "the database's clock".into())?)
    }

    pub(crate) async fn request_cancel(
        &self,
        id: &str,
        request: &CancelRequest,
    ) -> Result<CancelReply, Fault> {
        let id = escape(id);
        let reason = request.reason.as_deref().map(escape);
        let parameters = [
            (&id as _, Type::TEXT),
            (&request.at.as_millis() as _, Type::INT8),
            (&reason as _, Type::TEXT),
            (&request.at_once as _, Type::BOOL),
        ];
        // It is read first: nothing is changed of a run that cannot be read.
        if self.run(&id).await?.is_none() {
            return Ok(CancelReply::Unknown);
        }
        if let Some(row) = self.query(&self.sql.cancel, &parameters).await?.first() {
            return Ok(CancelReply::Accepted(Box::new(row::run(row)?.0)));
        }
        Ok(match self.run(&id).await? {
            None => CancelReply::Unknown,
            Some((run, _)) => CancelReply::Ended(run.status),
        })
    }
}

/// Returns a claimed run. One that cannot be read stays with its worker and keeps no other from
/// being claimed.
fn readable(row: &Row) -> Option<(Claimed, i64)> {
    claimed(row)
        .inspect_err(|error| tracing::error!(%error, "a run cannot be read; it rests until this worker has ended"))
        .ok()
}

/// Returns a time, unless it cannot be read: that must not hide the others.
fn told(time: Result<Option<Timestamp>, StoreError>) -> Option<Option<Timestamp>> {
    time.inspect_err(|error| tracing::error!(%error, "a time cannot be read; nobody waits for it"))
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
