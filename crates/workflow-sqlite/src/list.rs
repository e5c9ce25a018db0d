//! Lists of runs: the cost of a page depends on the runs that it returns, not on those that are
//! kept.

use std::fmt::Write as _;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ToSql, params};
use workflow_engine::{Run, RunFilter, RunKey, Status};

use crate::error::OperationError;
use crate::row::{self, RUN_COLUMNS};

/// Maximum number of runs that a query may sort by key. If more runs match, a walk in the order of
/// the keys finds a page of them soon.
const MAX_SORTED_RUNS: i64 = 1_000;

/// Returns the runs that a filter admits, in the order of their keys.
pub(crate) fn list(
    connection: &Connection,
    filter: &RunFilter,
) -> Result<Vec<Run>, OperationError> {
    let ids = filter
        .id_prefix
        .as_deref()
        .filter(|prefix| !prefix.is_empty())
        .map(Prefix::new);
    let mut select = connection.prepare_cached(&query(connection, filter, ids.as_ref())?)?;
    let after = i64::try_from(filter.after.map_or(0, |RunKey(key)| key)).unwrap_or(i64::MAX);
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    bind(&mut select, ":after", after)?;
    bind(&mut select, ":limit", limit)?;
    bind(&mut select, ":workflow", &filter.workflow)?;
    bind(&mut select, ":worker", &filter.worker)?;
    bind(
        &mut select,
        ":from",
        ids.as_ref().map(|prefix| &prefix.from),
    )?;
    bind(&mut select, ":to", ids.as_ref().map(|prefix| &prefix.to))?;
    let mut rows = select.raw_query();
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(row::run(row)?.0);
    }
    Ok(runs)
}

/// Returns the query for a filter.
///
/// The query uses the index that leads to the fewest runs, and returns them in the order of their
/// keys.
fn query(
    connection: &Connection,
    filter: &RunFilter,
    ids: Option<&Prefix>,
) -> Result<String, OperationError> {
    let RunFilter {
        statuses,
        workflow,
        worker,
        ..
    } = filter;
    let condition = |column: &str, parameter: &str, given| {
        if given {
            format!(" AND {column} = {parameter}")
        } else {
            String::new()
        }
    };
    // The plus signs keep SQLite from choosing another index than the intended one.
    let workflow_condition = condition("+workflow", ":workflow", workflow.is_some());
    let prefix_condition = if ids.is_some() {
        " AND +id >= :from AND +id < :to"
    } else {
        ""
    };
    let mut selected: Vec<_> = Status::ALL
        .into_iter()
        .filter(|status| statuses.contains(status))
        .collect();
    if selected.len() == Status::ALL.len() {
        selected.clear();
    }
    let mut status_condition = String::new();
    if !selected.is_empty() {
        let names: Vec<_> = selected
            .iter()
            .map(|status| format!("'{}'", status.stored_name()))
            .collect();
        let _ = write!(status_condition, " AND +status IN ({})", names.join(", "));
    }
    let select = format!("SELECT {RUN_COLUMNS} FROM runs");
    let order = "ORDER BY key LIMIT :limit";
    if worker.is_some() {
        let from = "INDEXED BY runs_worker WHERE worker = :worker AND key > :after";
        return Ok(format!(
            "{select} {from}{status_condition}{workflow_condition}{prefix_condition} {order}"
        ));
    }
    if let Some(ids) = ids
        && ids.are_few(connection)?
    {
        let from = "WHERE id >= :from AND id < :to AND +key > :after";
        return Ok(format!(
            "{select} {from}{status_condition}{workflow_condition} ORDER BY +key LIMIT :limit"
        ));
    }
    let completed = selected.contains(&Status::Completed);
    if !selected.is_empty() && (!completed || are_few_completed(connection)?) {
        let parts: Vec<_> = selected
            .iter()
            .map(|status| {
                let name = status.stored_name();
                let index = match status {
                    Status::Completed => "runs_ended WHERE ended_at IS NOT NULL AND",
                    _ => "runs_status WHERE status <> 'completed' AND",
                };
                format!(
                    "{select} INDEXED BY {index} status = '{name}' \
                     AND key > :after{workflow_condition}{prefix_condition}"
                )
            })
            .collect();
        // Column 1 is the key.
        return Ok(format!(
            "{} ORDER BY 1 LIMIT :limit",
            parts.join(" UNION ALL ")
        ));
    }
    if workflow.is_some() {
        let from = "INDEXED BY runs_workflow WHERE workflow = :workflow AND key > :after";
        return Ok(format!(
            "{select} {from}{status_condition}{prefix_condition} {order}"
        ));
    }
    Ok(format!(
        "{select} NOT INDEXED WHERE key > :after{status_condition}{prefix_condition} {order}"
    ))
}

/// Returns whether few enough runs have completed to sort them.
fn are_few_completed(connection: &Connection) -> Result<bool, OperationError> {
    let sql = format!(
        "SELECT count(*) < {MAX_SORTED_RUNS} FROM (SELECT 1 FROM runs INDEXED BY runs_ended \
         WHERE ended_at IS NOT NULL AND status = 'completed' LIMIT {MAX_SORTED_RUNS})"
    );
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([], |row| row.get(0))?)
}

/// Binds a value if the query has the parameter.
fn bind(
    select: &mut CachedStatement<'_>,
    name: &str,
    value: impl ToSql,
) -> Result<(), OperationError> {
    if let Some(index) = select.parameter_index(name)? {
        select.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

/// Range of the ids that begin with a text. SQLite compares texts by their UTF-8 bytes.
struct Prefix {
    from: Bytes,
    /// First text after the range, which need not be valid UTF-8.
    to: Bytes,
}

impl Prefix {
    fn new(prefix: &str) -> Self {
        let from = prefix.as_bytes().to_vec();
        let mut to = from.clone();
        // The byte 0xff never occurs in UTF-8, so this cannot overflow.
        if let Some(last) = to.last_mut() {
            *last += 1;
        }
        Self {
            from: Bytes(from),
            to: Bytes(to),
        }
    }

    /// Returns whether few enough runs have such ids to sort them.
    fn are_few(&self, connection: &Connection) -> Result<bool, OperationError> {
        let sql = format!(
            "SELECT count(*) < {MAX_SORTED_RUNS} FROM (SELECT 1 FROM runs \
             WHERE id >= ?1 AND id < ?2 LIMIT {MAX_SORTED_RUNS})"
        );
        Ok(connection
            .prepare_cached(&sql)?
            .query_row(params![self.from, self.to], |row| row.get(0))?)
    }
}

/// Text that need not be valid UTF-8.
struct Bytes(Vec<u8>);

impl ToSql for Bytes {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}
