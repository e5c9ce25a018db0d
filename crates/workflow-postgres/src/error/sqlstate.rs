//! The meaning of the errors of the server and of its client.
//!
//! An error that is not known to be final is retried, so that no operation fails because of an
//! unknown error.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use workflow_engine::StoreError;

use crate::error::store::{backend, corrupt};

/// The meaning of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The statement was not executed, and a retry may succeed: it collided with another one, the
    /// server lacks a resource, or an operator must repair the schema or a right. The connection
    /// can still be used.
    Later,
    /// The connection cannot be used any more: it has ended, leads to a server that accepts no
    /// writes, or is in an unexpected state. The next one may lead to another server. The operation
    /// may have happened.
    Elsewhere,
    /// The value cannot be kept, and a retry does not help. Nothing was changed.
    Never,
    /// A stored value is inconsistent or cannot be read. Nothing was changed.
    Damaged,
}

use Meaning::{Damaged, Elsewhere, Later, Never};

/// The meanings of the classes of SQLSTATE. A state that differs from its class is listed before
/// the class. A state that is not listed means [`Later`]. The list of PostgreSQL:
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
const STATES: &[(&str, Meaning)] = &[
    // Connections.
    ("08", Elsewhere),
    // A missing feature: the server has no form for the value.
    ("0A", Never),
    // A trigger or a constraint that was added to the tables refuses the row.
    ("09", Never),
    ("20", Never),
    ("21", Never),
    ("27", Never),
    ("2F", Never),
    ("38", Never),
    ("39", Never),
    ("44", Never),
    ("P0", Never),
    // Data: no text of the encoding, a number out of range.
    ("22", Never),
    // Constraints. After a duplicate key, a retry uses another one; see `meaning`.
    ("23505", Later),
    ("23", Never),
    // Transactions: the server is read only (25006), or the connection is within an unexpected
    // transaction.
    ("25", Elsewhere),
    ("2D", Elsewhere),
    ("3B", Elsewhere),
    // Prepared statements, which the store does not use: a proxy has mixed up connections.
    ("26", Elsewhere),
    // Logins and databases: an operator may repair this, or another host may work.
    ("28", Elsewhere),
    ("3D", Elsewhere),
    // Serialization failures and deadlocks. 40003: it is unknown whether the statement was
    // completed.
    ("40003", Elsewhere),
    ("40", Later),
    // Missing schemas, tables and rights: an operator may repair this.
    ("3F", Later),
    ("42", Later),
    // Memory, disk, connections.
    ("53", Later),
    // Limits of the server: an index entry, a row, a statement that is too large.
    ("54", Never),
    // Locks.
    ("55", Later),
    // An operator: the statement was cancelled, or the server is being shut down or started.
    ("57014", Later),
    ("57", Elsewhere),
    // The operating system.
    ("58", Later),
    // Internal errors of the server, and damage that it has found.
    ("XX001", Damaged),
    ("XX002", Damaged),
    ("XX", Later),
    // Errors that the functions of the schema raise: the server or its settings are not those with
    // which the store began.
    ("WF", Elsewhere),
];

/// Returns the meaning of an error.
pub(crate) fn meaning(error: &Error) -> Meaning {
    let Some(said) = error.as_db_error() else {
        return client_side(error);
    };
    // The history has a record that is beyond the end in the run's row.
    let twice = *said.code() == SqlState::UNIQUE_VIOLATION
        && said.constraint() == Some("history_run_seq_key");
    if twice {
        Damaged
    } else {
        of_state(said.code())
    }
}

fn of_state(state: &SqlState) -> Meaning {
    let found = STATES
        .iter()
        .find(|(prefix, _)| state.code().starts_with(prefix));
    found.map_or(Later, |(_, meaning)| *meaning)
}

/// Returns the meaning of an error of the client, which has no code, only a text. A test makes each
/// of these errors.
fn client_side(error: &Error) -> Meaning {
    let words = error.to_string();
    let begins = |beginning: &[&str]| {
        beginning
            .iter()
            .any(|beginning| words.starts_with(beginning))
    };
    match () {
        // The statement was never sent.
        () if begins(&[
            "error serializing parameter",
            "error encoding message",
            "expected",
        ]) =>
        {
            Never
        }
        () if begins(&[
            "error deserializing column",
            "invalid column",
            "query returned",
        ]) =>
        {
            Damaged
        }
        () => Elsewhere,
    }
}

/// Returns the error of the store for an error of the database.
pub(crate) fn store_error(error: &Error) -> StoreError {
    match meaning(error) {
        Later | Elsewhere => backend(message(error)),
        Never => StoreError::Refused {
            why: message(error),
        },
        Damaged => corrupt(message(error)),
    }
}

/// Returns the text of an error without its details, which may have values of rows.
pub(crate) fn message(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| {
        format!("{words}: {cause}")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    /// Every class of the list of PostgreSQL 17, with one of its states, and each state that
    /// differs from its class.
    #[test]
    fn every_class_of_errors_means_something() {
        let later = "01000 02000 03000 0B000 0F001 0L000 0LP01 0P000 0Z002 24000 2B000 34000 3F000 40001 40P01 40002 42501 \
                     42601 42703 42P01 42883 53000 53100 53200 53300 53400 55000 55006 55P02 55P03 55P04 57014 58000 \
                     58030 58P01 72000 F0000 F0001 HV000 XX000 23505 99999";
        let elsewhere = "08000 08003 08006 08001 08004 08007 08P01 25000 25001 25006 25P01 25P02 25P03 25P04 26000 28000 \
                         28P01 2D000 3B000 3B001 3D000 40003 57000 57P01 57P02 57P03 57P04 57P05 WF001 WF002";
        let never = "09000 0A000 20000 21000 22000 22001 22003 22007 22008 22021 22P02 22P05 22030 23000 23001 23502 23503 \
                     23514 23P01 27000 2F000 38000 39000 44000 54000 54001 54011 54023 P0000 P0001 P0004";
        for (states, expected) in [
            (later, Later),
            (elsewhere, Elsewhere),
            (never, Never),
            ("XX001 XX002", Damaged),
        ] {
            for state in states.split_whitespace() {
                assert_eq!(of_state(&SqlState::from_code(state)), expected, "{state}");
            }
        }
    }

    #[test]
    fn a_state_that_differs_stands_before_its_class() {
        for (index, (state, meaning)) in STATES.iter().enumerate() {
            assert_eq!(
                of_state(&SqlState::from_code(state)),
                *meaning,
                "{state} is hidden by an entry before it"
            );
            assert!(
                !STATES[..index].iter().any(|(before, _)| before == state),
                "{state} stands there twice"
            );
        }
    }

    /// The client has no codes, so each of its errors is created; and some of the server's, as they
    /// come.
    #[cfg(feature = "testing")]
    #[tokio::test]
    async fn what_the_client_says_is_known() {
        use crate::testing::{Server, ServerError};
        use tokio_postgres::types::Type;

        let server = match Server::start().await {
            Err(ServerError::NotInstalled) if std::env::var_os("WF_NO_SKIPS").is_none() => return,
            server => server.unwrap(),
        };
        let url = server.url_of("postgres");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let refused = async |sql: &str, parameter: i64| {
            client
                .query_typed(sql, &[(&parameter, Type::INT8)])
                .await
                .expect_err("it is refused")
        };
        let wrong = client
            .query_typed("SELECT $1", &[(&1_i64, Type::TEXT)])
            .await
            .expect_err("it is no text");
        assert_eq!(
            (wrong.to_string().as_str(), meaning(&wrong)),
            ("error serializing parameter 0", Never)
        );
        let zero = client
            .batch_execute("SELECT '\0'")
            .await
            .expect_err("it has a zero byte");
        assert_eq!(
            (zero.to_string().as_str(), meaning(&zero)),
            ("error encoding message to server", Never)
        );
        let row = client
            .query_typed_one("SELECT 'text'::text", &[])
            .await
            .unwrap();
        let typed = row.try_get::<_, i64>(0).expect_err("it is a text");
        assert_eq!(
            (typed.to_string().as_str(), meaning(&typed)),
            ("error deserializing column 0", Damaged)
        );
        let column = row
            .try_get::<_, i64>("none")
            .expect_err("there is no such column");
        assert_eq!(
            (column.to_string().as_str(), meaning(&column)),
            ("invalid column `none`", Damaged)
        );
        let none = client
            .query_typed_one("SELECT 1 WHERE false", &[])
            .await
            .expect_err("there is no row");
        assert_eq!(meaning(&none), Damaged, "{none}");
        for (sql, expected) in [
            ("SELECT 1 / ($1 - 1)", Never),
            ("SELECT chr($1::int - 1)", Never),
            ("SELECT $1 FROM nothing", Later),
            (
                "SELECT pg_terminate_backend(pg_backend_pid()) WHERE $1 = 1",
                Elsewhere,
            ),
            ("SELECT $1", Elsewhere),
        ] {
            let error = refused(sql, 1).await;
            assert_eq!(meaning(&error), expected, "{sql}: {error:?}");
            let transient = matches!(expected, Later | Elsewhere);
            assert_eq!(
                store_error(&error).is_transient(),
                transient,
                "{sql}: {error:?}"
            );
        }
        let nobody =
            tokio_postgres::connect("host=127.0.0.1 port=1 user=nobody", tokio_postgres::NoTls)
                .await;
        let unreachable = nobody.err().expect("nobody listens there");
        assert_eq!(meaning(&unreachable), Elsewhere, "{unreachable}");
    }
}
