//! What an error of the database means.

/// What an error of the database means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
#[must_use]
pub fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(Fault::Other, |code| fault_of_state(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        // What a connection that breaks in the middle of an answer looks like.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Fault::Away,
        sqlx::Error::Encode(_) => Fault::Data,
        _ => Fault::Other,
    }
}

/// Whether a row was held by somebody else for too long.
#[must_use]
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// Whether there is no such database: not made yet, or about to be restored.
#[must_use]
pub(super) fn is_missing_database(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("3D000"))
}

/// By SQLSTATE (Postgres manual, appendix A).
fn fault_of_state(state: &str) -> Fault {
    match state {
        // serialization_failure, deadlock_detected
        "40001" | "40P01" => Fault::Conflict,
        // undefined_table, undefined_column, undefined_function, invalid_schema_name, invalid_catalog_name
        "42P01" | "42703" | "42883" | "3F000" | "3D000" => Fault::Schema,
        // query_canceled (a timeout), lock_not_available, read_only_sql_transaction (a failover under way),
        // object_not_in_prerequisite_state (a database that takes no connections: it is being copied)
        "57014" | "55P03" | "25006" | "55000" => Fault::Away,
        _ => match state.get(..2) {
            // connection exceptions; authorization (a password being rotated); too few resources; an operator; the system
            Some("08" | "28" | "53" | "57" | "58") => Fault::Away,
            // bad values; constraints
            Some("22" | "23") => Fault::Data,
            _ => Fault::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_states_mean_what_the_caller_can_do() {
        for (state, expected) in [
            ("40001", Fault::Conflict),
            ("40P01", Fault::Conflict),
            ("57P01", Fault::Away),
            ("57P03", Fault::Away),
            ("53300", Fault::Away),
            ("08006", Fault::Away),
            ("55P03", Fault::Away),
            ("55000", Fault::Away),
            ("28P01", Fault::Away),
            ("23505", Fault::Data),
            ("22021", Fault::Data),
            ("42P01", Fault::Schema),
            ("42601", Fault::Other),
            ("", Fault::Other),
        ] {
            assert_eq!(fault_of_state(state), expected, "{state}");
        }
        assert_eq!(fault(&sqlx::Error::PoolTimedOut), Fault::Away);
        assert_eq!(fault(&sqlx::Error::RowNotFound), Fault::Other);
    }
}
