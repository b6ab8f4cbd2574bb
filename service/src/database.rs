//! Postgres: the pool and how its sessions are set, limits, migrations, and what an error means.

mod check;
mod error_kind;
mod limits;
mod migrations;
mod session;
mod warm_pool;

pub use self::{
    error_kind::{ErrorKind, error_kind, is_lock_timeout},
    limits::{LONG, SHORT, in_time, retry_conflicts, unless_held},
    migrations::{keep_schema, migrate, prepare_schema, wait_for_schema},
    session::{SESSION, allow_time_in_tx, plan_for_many_in_tx, pool, storable},
    warm_pool::{WarmConnection, WarmPool},
};
