//! Reading runs and their histories.

use tokio_postgres::types::Type;
use workflow_engine::store::{Record, Span};
use workflow_engine::{Run, RunKey, StoreError};

use crate::reader::Reader;
use crate::row::{self, signed};
use crate::text::escape;
pub(crate) async fn run(reader: &Reader, id: &str) -> Result<Option<Run>, StoreError> {
    let rows = reader
        .read(&reader.sql.run, &[(&escape(id), Type::TEXT)])
        .await?;
    Ok(rows.first().map(row::run).transpose()?.map(|(run, _)| run))
}

pub(crate) async fn records(
    reader: &Reader,
    key: RunKey,
    span: Span,
) -> Result<Vec<Record>, StoreError> {
    let sql = match span {
        Span::First => &reader.sql.first_record,
        Span::Last => &reader.sql.last_record,
        _ => &reader.sql.records,
    };
    let rows = reader.read(sql, &[(&signed(key.0), Type::INT8)]).await?;
    rows.iter().map(row::record).collect()
}
