//! What Postgres says against a statement, as the store's callers need to know it.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::work::Access;
use crate::store::StoreError;

/// The database cannot be used now; the reason is for the log.
pub(super) fn refused(why: impl Into<String>) -> StoreError {
    StoreError::Unavailable(why.into())
}

/// Infrastructure, a limit, or a value that is taken.
pub(super) fn store_error(error: Error, access: Access) -> StoreError {
    let Some(state) = error.code() else {
        // Not from the server: the connection broke.
        return refused(error.to_string());
    };
    if *state == SqlState::UNIQUE_VIOLATION {
        let constraint = error.as_db_error().and_then(|error| error.constraint());
        let field = match constraint.unwrap_or_default() {
            "record_pkey" => "id",
            "record_key_alias" => "alias",
            "record_user_email" => "email",
            other => other,
        };
        return StoreError::Conflict {
            field: field.to_owned(),
        };
    }
    if *state == SqlState::QUERY_CANCELED {
        return match access {
            Access::Report => StoreError::Late,
            _ => StoreError::Busy,
        };
    }
    let busy = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    if busy.contains(state) {
        return StoreError::Busy;
    }
    if is_infrastructure(state) {
        return refused(message(&error));
    }
    StoreError::Postgres(message(&error))
}

/// Connections, resources, shutdown, a standby: nothing that a caller did.
fn is_infrastructure(state: &SqlState) -> bool {
    let code = state.code();
    let read_only = *state == SqlState::READ_ONLY_SQL_TRANSACTION;
    let login = code.starts_with("28") || code == "3D000";
    read_only
        || login
        || ["08", "53", "57", "58", "XX"]
            .iter()
            .any(|class| code.starts_with(class))
}

fn message(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => error.to_string(),
    }
}
