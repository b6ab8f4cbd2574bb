//! Each service dies at each of its steps, alone and both together, and is started again: every invoice is paid once, all
//! books agree, and every point in the list was really reached.
//!
//! The matrix is printed, and kept in `target/crash-matrix.md`.

use std::time::Duration;

use acceptance::Result;
use jetstream::steps::Step;
use local_stack::{ServiceKind, built_binary};
use service::fail_points::DIRECTORY;

use self::matrix::Matrix;

mod load;
mod matrix;
mod round;
mod runner;

/// A crash that is not reached within this long after all work is done will not be.
const GRACE: Duration = Duration::from_secs(10);

/// A step of a service at which it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crash {
    service: ServiceKind,
    point: &'static str,
}

impl Crash {
    /// As the service looks for it, and as reports name it.
    fn name(self) -> String {
        format!("{}.{}", self.service.as_str(), self.point)
    }

    /// Every step of a service.
    fn all_of(service: ServiceKind) -> Vec<Self> {
        let own: Vec<&str> = match service {
            ServiceKind::InvoiceApp => {
                use invoice_app::fail_points::FailPoint;
                FailPoint::ALL.map(FailPoint::as_str).into()
            }
            ServiceKind::PaymentProvider => {
                use payment_provider::fail_points::FailPoint;
                FailPoint::ALL.map(FailPoint::as_str).into()
            }
        };
        let steps = Step::ALL.iter().filter(|step| passes(service, **step));
        let points = own.into_iter().chain(steps.map(|step| step.name()));
        points.map(|point| Self { service, point }).collect()
    }
}

/// invoice-app gives messages back only while its database is away, and waits for the stream at one message in a thousand.
fn passes(service: ServiceKind, step: Step) -> bool {
    let rare = matches!(
        step,
        Step::MessagePuttingOff | Step::MessagePutOff | Step::MessagesUnconfirmed
    );
    service == ServiceKind::PaymentProvider || !rare
}

#[test]
fn no_two_points_of_a_service_have_one_name() {
    for service in [ServiceKind::InvoiceApp, ServiceKind::PaymentProvider] {
        let mut points: Vec<&str> = Crash::all_of(service)
            .into_iter()
            .map(|crash| crash.point)
            .collect();
        let count = points.len();
        points.sort_unstable();
        points.dedup();
        assert_eq!(points.len(), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_crash_loses_nothing_and_pays_nothing_twice() {
    let mut rounds = Vec::new();
    for service in [ServiceKind::InvoiceApp, ServiceKind::PaymentProvider] {
        rounds.extend(Crash::all_of(service).into_iter().map(|crash| vec![crash]));
    }
    crashed_at(rounds, "crash-matrix.md").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long; run with `bin/just crash-matrix --pairs`"]
async fn every_pair_of_crashes_loses_nothing_and_pays_nothing_twice() {
    let mut rounds = Vec::new();
    for app in Crash::all_of(ServiceKind::InvoiceApp) {
        let pairs = Crash::all_of(ServiceKind::PaymentProvider).into_iter();
        rounds.extend(pairs.map(|provider| vec![app, provider]));
    }
    crashed_at(rounds, "crash-matrix-pairs.md").await.unwrap();
}

/// Runs a round for each set of crashes, and prints and keeps what came of them.
async fn crashed_at(rounds: Vec<Vec<Crash>>, file: &str) -> Result<()> {
    let matrix = Matrix::of_rounds(rounds).await?;
    matrix.keep(file)?;
    matrix.expect_all_good()
}

/// The other half of this is checked wherever a release is built: there must be nothing of them in its binaries.
#[test]
fn the_binaries_under_test_have_fail_points() {
    for service in [ServiceKind::InvoiceApp, ServiceKind::PaymentProvider] {
        let binary = std::fs::read(built_binary(service.as_str()).unwrap()).unwrap();
        let marker = DIRECTORY.as_bytes();
        assert!(binary.windows(marker.len()).any(|bytes| bytes == marker));
    }
}
