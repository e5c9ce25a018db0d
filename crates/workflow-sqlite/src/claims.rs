//! Claims: who works on what.

use rusqlite::{OptionalExtension, Params, params};
use workflow_engine::{Claim, ClaimRequest, Claimed, Claims, Run, RunKey, Timestamp};

use crate::queue::{self, Found, Workflows};
use crate::reads;
use crate::row::Failure;
use crate::writer::Db;
use crate::writes::held;

/// How long a run that cannot be read rests before it is tried again, in milliseconds.
const REST: i64 = 60_000;

/// The workers other than `?2` whose leases are over at `?1`; also a lease that ends at no time,
/// later than `?3`: its worker, if it lives, renews it or is fenced.
const DEAD: &str = "name <> ?2 AND (until <= ?1 OR until > ?3)";

impl Db {
    pub(crate) fn claim(&mut self, request: &ClaimRequest) -> Result<Claims, Failure> {
        self.expire(request)?;
        if let Some(id) = &request.run {
            return self.claim_one(request, id);
        }
        let Workflows { wanted, unknown } = queue::workflows(&self.connection, request)?;
        let Found {
            runs,
            damaged,
            more,
        } = queue::due(&self.connection, &wanted, request)?;
        // Everything that is taken has been read before the first is taken.
        for (RunKey(key), error) in damaged {
            // One that is damaged must not keep the others from being claimed, now and the next
            // time.
            tracing::error!(run = key, %error, "a run cannot be read; it will be tried again");
            let sql = "UPDATE runs SET due_at = ?2, ready = 0 WHERE key = ?1";
            let rested = request.now.as_millis().saturating_add(REST);
            self.connection
                .prepare_cached(sql)?
                .execute(params![key, rested])?;
        }
        let mut claims = Claims {
            unknown,
            ..Claims::default()
        };
        for (run, epoch) in runs {
            claims.runs.push(self.take(run, epoch, &request.worker)?);
        }
        let next = queue::next(&self.connection, &wanted, request.now)?;
        claims.next_due = more
            .into_iter()
            .chain(next)
            .chain(self.first_lease(request)?)
            .min();
        Ok(claims)
    }

    fn claim_one(&mut self, request: &ClaimRequest, id: &str) -> Result<Claims, Failure> {
        let mut claims = Claims::default();
        let Some((run, epoch)) = reads::run_by_id(&self.connection, id)? else {
            return Ok(claims);
        };
        let sql = "SELECT ready FROM runs WHERE key = ?1";
        let ready: bool = self
            .connection
            .prepare_cached(sql)?
            .query_row([run.key.0], |row| row.get(0))?;
        let due = run
            .due_at
            .is_some_and(|due_at| ready || due_at <= request.now);
        let own = run.due_at.is_none() && run.worker.as_ref() == Some(&request.worker);
        if request
            .workflows
            .as_ref()
            .is_some_and(|names| !names.contains(&run.workflow))
        {
            claims.unknown.extend(due.then_some(run.workflow));
        } else if (due || own) && request.limit > 0 {
            claims.runs.push(self.take(run, epoch, &request.worker)?);
        } else if !own {
            claims.next_due = match (run.due_at, &run.worker) {
                (None, Some(holder)) => self.lease(holder)?,
                (due_at, _) => {
                    due_at.map(|due_at| if due { due_at.min(request.now) } else { due_at })
                }
            };
        }
        Ok(claims)
    }

    /// Gives a run to a worker. One that was held when its worker died counts a recovery.
    fn take(&mut self, mut run: Run, epoch: u64, worker: &str) -> Result<Claimed, Failure> {
        // A run that is due and still has a worker was held when its lease ran out.
        let died = run.worker.is_some() && run.due_at.is_some();
        let claim = Claim {
            key: run.key,
            epoch: epoch + 1,
        };
        run.recoveries = run.recoveries.saturating_add(u32::from(died));
        (run.worker, run.due_at) = (Some(worker.to_owned()), None);
        let sql = "UPDATE runs SET worker = ?2, due_at = NULL, ready = 0, epoch = ?3, recoveries = ?4 WHERE key = ?1";
        let values = params![run.key.0, worker, claim.epoch, run.recoveries];
        self.connection.prepare_cached(sql)?.execute(values)?;
        self.held.insert(run.key, held(&run, claim.epoch));
        Ok(Claimed { claim, run, died })
    }

    /// Makes ready what dead workers held; they stay on the runs, as the mark that they died with
    /// them. The worker that asks is alive.
    fn expire(&mut self, request: &ClaimRequest) -> Result<(), Failure> {
        let (now, latest) = (request.now.as_millis(), Timestamp::MAX.as_millis());
        let dead = params![now, request.worker, latest];
        let sql = format!("SELECT 1 FROM workers WHERE {DEAD} LIMIT 1");
        if self
            .connection
            .prepare_cached(&sql)?
            .query_row(dead, |_| Ok(()))
            .optional()?
            .is_none()
        {
            return Ok(());
        }
        let sql = format!(
            "UPDATE runs SET ready = 1, due_at = (SELECT CASE WHEN until BETWEEN ?4 AND ?1 THEN until ELSE ?1 END \
                 FROM workers WHERE name = runs.worker) \
             WHERE due_at IS NULL AND worker IN (SELECT name FROM workers WHERE {DEAD}) RETURNING key"
        );
        let earliest = Timestamp::MIN.as_millis();
        for key in self.column::<u64>(&sql, params![now, request.worker, latest, earliest])? {
            self.held.remove(&RunKey(key));
        }
        self.connection
            .prepare_cached(&format!("DELETE FROM workers WHERE {DEAD}"))?
            .execute(dead)?;
        Ok(())
    }

    /// Returns when the first lease of another worker is over that holds a run which is asked for.
    fn first_lease(&self, request: &ClaimRequest) -> Result<Option<Timestamp>, Failure> {
        let mut select = self
            .connection
            .prepare_cached("SELECT until, name FROM workers WHERE name <> ?1")?;
        let mut rows = select.query([&request.worker])?;
        let mut leases = Vec::new();
        while let Some(row) = rows.next()? {
            // A lease that ends at no time is over, and a name that cannot be read is nobody's.
            if let (Ok(until), Ok(name)) = (
                Timestamp::from_millis(row.get(0)?),
                row.get_ref(1)?.as_str(),
            ) {
                leases.push((until, name.to_owned()));
            }
        }
        leases.sort_unstable();
        for (until, name) in leases {
            if queue::holds(&self.connection, &name, request)? {
                return Ok(Some(until));
            }
        }
        Ok(None)
    }

    /// Returns the only column of a query.
    pub(crate) fn column<T: rusqlite::types::FromSql>(
        &self,
        sql: &str,
        values: impl Params,
    ) -> Result<Vec<T>, Failure> {
        let mut select = self.connection.prepare_cached(sql)?;
        let rows = select.query_map(values, |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
