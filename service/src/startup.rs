//! What `serve` begins and ends with in every service: metrics, traces and the internal port, and closing what leads outside.

use std::{process::ExitCode, time::Duration};

use jetstream::connection::Connection;

use crate::{
    admin::{self, Readiness},
    config::Common,
    shutdown::{Group, Process, share},
    telemetry,
    traces::{self, Traces},
};

/// What the end keeps back of the time for shutdown, for the last groups and the connection.
const AFTER_DRAIN: Duration = Duration::from_secs(2);

/// A service that is being put together.
pub struct Startup {
    /// To be set once it can serve.
    pub readiness: Readiness,
    name: &'static str,
    version: &'static str,
    process: Process,
    traces: Traces,
}

impl Startup {
    /// Starts metrics, traces and the internal port. The groups are stopped in this order, and then the port that tells about them.
    pub fn begin<const N: usize>(
        name: &'static str,
        version: &'static str,
        common: &Common,
        groups: [&'static str; N],
    ) -> (Self, [Group; N]) {
        let recorder = telemetry::init_metrics(name, version);
        let traces = traces::init(name, version);
        let mut process = Process::new(common.shutdown_grace);
        let groups = groups.map(|group| process.group(group));
        let (readiness, admin) = (Readiness::new(), process.group("admin"));
        let serving = admin::serve(common.admin_listen, readiness.clone(), recorder, admin.stop());
        admin.spawn("admin", serving);
        let startup = Self {
            readiness,
            name,
            version,
            process,
            traces,
        };
        (startup, groups)
    }

    /// Runs until SIGTERM, and closes what leads outside.
    pub async fn run(self, connection: Connection) -> ExitCode {
        tracing::info!(version = self.version, "{} started", self.name);
        let exit = self.process.run(|| self.readiness.set(false)).await;
        tokio::join!(connection.close(AFTER_DRAIN), self.traces.close(AFTER_DRAIN));
        exit
    }
}

/// Groups that stop after the first: each service has two, and the internal port is the last.
const LATER: usize = 2;

/// How long what is in flight may take to be finished at the end: less than the first group has.
pub fn drain(common: &Common) -> Duration {
    share(common.shutdown_grace, LATER).saturating_sub(AFTER_DRAIN)
}
