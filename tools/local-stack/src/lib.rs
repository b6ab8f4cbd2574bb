//! Starts Postgres, nats-server and both services as real processes on this machine, for the demo, the tests and the
//! benchmark, and leaves nothing behind.

mod child;
mod cut_proxy;
mod directory;
mod env_file;
mod error;
mod eventually;
mod guard;
mod http;
mod keys;
mod links;
mod nats;
mod nats_admin;
mod nats_servers;
mod ports;
mod postgres;
mod process;
mod raw_nats;
mod service;
mod stack;
mod supervisor;
mod test_postgres;
mod tools;

pub use crate::{
    child::{ChildArgs, run_child},
    cut_proxy::CutProxy,
    directory::StackDirectory,
    env_file::{quoted_path, read_env, write_env},
    error::{Error, Result},
    eventually::{LIMIT, Look, eventually, eventually_within},
    guard::run_guard,
    http::{http_client, install_crypto_provider, wait_for_ok},
    keys::{Keys, User},
    links::Links,
    nats::{Membership, NatsOptions, NatsServer, connect_nats, nats_configuration},
    nats_admin::NatsAdmin,
    nats_servers::{NatsNodes, NatsServers},
    ports::{NatsPorts, Ports, free_port},
    postgres::{Postgres, PostgresOptions},
    process::{Process, Program, Spec},
    raw_nats::RawNats,
    service::{Service, ServiceKind, ServiceOptions},
    stack::{Stack, StackOptions},
    supervisor::Supervisor,
    test_postgres::{TestDatabase, TestPostgres},
    tools::{built_binary, local_stack_binary, tool, workspace_root},
};

pub use rustix::process::Signal;
