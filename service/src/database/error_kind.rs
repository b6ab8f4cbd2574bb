//! What an error of the database means.

/// What an error of the database means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Deadlock or serialization failure: run the transaction again, now.
    Conflict,
    /// The database is away, full, starting or stopping: try again later, answer 503.
    Away,
    /// The schema is gone or older, or the database itself: see [`super::keep_schema`]. Answer 503.
    Schema,
    /// The data is at fault (a constraint, a bad value): trying again changes nothing.
    Data,
    /// Anything else.
    Other,
}

/// Classifies an error.
pub fn error_kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(ErrorKind::Other, |code| kind_of_state(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        // What a connection that breaks in the middle of an answer looks like.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => ErrorKind::Away,
        sqlx::Error::Encode(_) => ErrorKind::Data,
        _ => ErrorKind::Other,
    }
}

/// Whether a row was held by somebody else for too long.
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// Whether there is no such database: not made yet, or about to be restored.
pub(super) fn is_missing_database(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("3D000"))
}

/// By SQLSTATE (Postgres manual, appendix A).
fn kind_of_state(state: &str) -> ErrorKind {
    match state {
        // serialization_failure, deadlock_detected
        "40001" | "40P01" => ErrorKind::Conflict,
        // undefined_table, undefined_column, undefined_function, invalid_schema_name, invalid_catalog_name
        "42P01" | "42703" | "42883" | "3F000" | "3D000" => ErrorKind::Schema,
        // query_canceled (a timeout), lock_not_available, read_only_sql_transaction (a failover under way),
        // object_not_in_prerequisite_state (a database that takes no connections: it is being copied)
        "57014" | "55P03" | "25006" | "55000" => ErrorKind::Away,
        _ => match state.get(..2) {
            // connection exceptions; authorization (a password being rotated); too few resources; an operator; the system
            Some("08" | "28" | "53" | "57" | "58") => ErrorKind::Away,
            // bad values; constraints
            Some("22" | "23") => ErrorKind::Data,
            _ => ErrorKind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_states_mean_what_the_caller_can_do() {
        for (state, expected) in [
            ("40001", ErrorKind::Conflict),
            ("40P01", ErrorKind::Conflict),
            ("57P01", ErrorKind::Away),
            ("57P03", ErrorKind::Away),
            ("53300", ErrorKind::Away),
            ("08006", ErrorKind::Away),
            ("55P03", ErrorKind::Away),
            ("55000", ErrorKind::Away),
            ("28P01", ErrorKind::Away),
            ("23505", ErrorKind::Data),
            ("22021", ErrorKind::Data),
            ("42P01", ErrorKind::Schema),
            ("42601", ErrorKind::Other),
            ("", ErrorKind::Other),
        ] {
            assert_eq!(kind_of_state(state), expected, "{state}");
        }
        assert_eq!(error_kind(&sqlx::Error::PoolTimedOut), ErrorKind::Away);
        assert_eq!(error_kind(&sqlx::Error::RowNotFound), ErrorKind::Other);
    }
}
