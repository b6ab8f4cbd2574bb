//! Connections to Postgres that are open and silent, as after the death of the host behind an address: their backends are
//! stopped with SIGSTOP. What they were doing waits; everything else goes on, and nothing is left of it afterwards.

use std::time::Duration;

use acceptance::{Callers, Client, Result, System, client::NO_WAIT, eventually, eventually_within};
use local_stack::{Service, ServiceKind};
use sqlx::{Connection as _, PgConnection};

/// All payments of a service stood still for as long as anybody watched before there was a limit. Far longer than it takes, since
/// the machine may be busy.
const GOES_ON: Duration = Duration::from_secs(90);

/// Whose backends are stopped.
struct Victim<'a> {
    service: &'a Service,
    name: &'static str,
    database: String,
}

impl Victim<'_> {
    /// Process ids of its backends, those that are at work first.
    async fn backends(&self) -> Result<Vec<i32>> {
        let mut connection = PgConnection::connect(&self.database).await?;
        let backends = sqlx::query_scalar(
            "select pid from pg_stat_activity where application_name = $1
             order by state = 'active' desc, state_change desc",
        )
        .bind(self.name)
        .fetch_all(&mut connection)
        .await?;
        connection.close().await?;
        Ok(backends)
    }
}

fn signal(signal: &str, backends: &[i32]) {
    for pid in backends {
        // One that has ended meanwhile is no loss.
        let _ = std::process::Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap();
    }
}

/// Lets them go on again also when the test fails: a stopped backend would outlive it.
struct Frozen(Vec<i32>);

impl Frozen {
    fn new(backends: &[i32]) -> Self {
        signal("-STOP", backends);
        Self(backends.to_vec())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

/// Stops backends of which none holds a latch inside Postgres: all others would wait for that, which no dead host brings about.
async fn freeze(victim: &Victim<'_>, backends: &[i32]) -> Result<Frozen> {
    for _ in 0..20 {
        let frozen = Frozen::new(backends);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = async {
            let mut connection = PgConnection::connect(&victim.database).await?;
            sqlx::query_scalar::<_, i64>(
                "select count(*) from pg_stat_activity
                 where wait_event_type = 'LWLock' and query_start < clock_timestamp() - interval '500 ms'",
            )
            .fetch_one(&mut connection)
            .await
        };
        if matches!(
            tokio::time::timeout(Duration::from_secs(5), waiting).await,
            Ok(Ok(0))
        ) {
            return Ok(frozen);
        }
    }
    Err(acceptance::Error::new("whatever is stopped holds a latch"))
}

async fn payments_go_on(kind: ServiceKind) {
    let system = System::start().await.unwrap();
    let stack = system.stack();
    let victim = match kind {
        ServiceKind::InvoiceApp => Victim {
            service: stack.invoice_app(),
            name: "invoice-app",
            database: stack.invoice_database_url(),
        },
        ServiceKind::PaymentProvider => Victim {
            service: stack.payment_provider(),
            name: "payment-provider",
            database: stack.payment_database_url(),
        },
    };
    let callers = Callers::start(8, vec![system.client().unwrap()], NO_WAIT);
    callers.accepted(500).await.unwrap();
    for share in [1, 4, usize::MAX] {
        let backends = victim.backends().await.unwrap();
        let most = if share == usize::MAX {
            backends.len().div_ceil(2)
        } else {
            share.min(backends.len())
        };
        let frozen = freeze(&victim, &backends[..most]).await.unwrap();
        let before = system.count_invoices("paid").await.unwrap();
        eventually_within(
            GOES_ON,
            &format!("200 are paid with {most} of {} backends frozen", backends.len()),
            || async { Ok(system.count_invoices("paid").await? >= before + 200) },
        )
        .await
        .unwrap();
        let admin = Client::try_new(&victim.service.admin_url()).unwrap();
        assert_eq!(admin.get("/livez").await.unwrap().status, 200);
        drop(frozen);
        eventually("the frozen backends have ended or are used again", || async {
            let mut connection = PgConnection::connect(&victim.database).await?;
            let left: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                 where application_name = $1 and state <> 'idle' and state_change < now() - interval '20 seconds'",
            )
            .bind(victim.name)
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok(left == 0)
        })
        .await
        .unwrap();
    }
    let tally = callers.stop().await.unwrap();
    let accepted = u64::try_from(tally.accepted.len()).unwrap();
    // Calls that were answered 503 may have taken effect all the same, and are paid then.
    eventually("everything accepted is paid", || async {
        let paid = system.count_invoices("paid").await?;
        let pending = system.count_invoices("pending").await?;
        Ok(pending == 0 && paid >= accepted)
    })
    .await
    .unwrap();
    let report = system.check().await.unwrap();
    let paid = system.count_invoices("paid").await.unwrap();
    report.expect_succeeded(usize::try_from(paid).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_go_on_while_connections_of_invoice_app_are_silent() {
    payments_go_on(ServiceKind::InvoiceApp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_go_on_while_connections_of_payment_provider_are_silent() {
    payments_go_on(ServiceKind::PaymentProvider).await;
}
