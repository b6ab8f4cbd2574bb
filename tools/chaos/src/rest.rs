//! After the faults: callers pay what is unpaid, operators do what their pages say, until nothing is open any more.

use std::time::Duration;

use acceptance::{Client, Result, cli, client::NO_WAIT, eventually_within, streams::existing_stream};
use payment_contract::streams::{PAY_OUTCOMES, PAY_REQUESTS};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::world::World;

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until nothing is open in any book. What stays open, the check names.
pub(super) async fn come_to_rest(world: &World, limit: Duration) {
    let rest = eventually_within(limit, "nothing is open", || async {
        let open = a_round(world).await?;
        if open.is_empty() {
            return Ok(Some(()));
        }
        tokio::time::sleep(PAUSE).await;
        Err(acceptance::Error::new(open.join(", ")))
    });
    if let Err(error) = rest.await {
        eprintln!("{error}");
    }
}

/// Pays what is unpaid and ends what is held; says what is open still.
async fn a_round(world: &World) -> Result<Vec<String>> {
    let [client, _] = world.clients()?;
    void_what_was_paid_under_another_id(world, &client).await?;
    client.pay_all(NO_WAIT).await?;
    end_what_is_held(world).await?;

    let system = &world.system;
    let mut open = vec![
        ("unpaid invoices", system.count_invoices("unpaid").await?),
        ("open payments", system.count_payments("requested").await?),
        ("held", held(world).await?.len() as u64),
        ("open in the ledger", open_in_the_ledger(world).await?),
    ];
    for stream in [PAY_REQUESTS, PAY_OUTCOMES] {
        let state = existing_stream(system.stack().nats(), stream).await?;
        open.push((stream, state.pending + state.ack_pending));
    }
    open.retain(|(_, count)| *count > 0);
    Ok(open
        .into_iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect())
}

/// Those that invoice-app has asked for, or that the bank knows. What neither knows stays open: see `docs/operations.md`.
async fn open_in_the_ledger(world: &World) -> Result<u64> {
    let stack = world.system.stack();
    let started = "select payment_id from ledger where status = 'started'";
    let started: Vec<Uuid> = ids(&stack.payment_database_url(), started, &[]).await?;
    let asked = "select id from payments where id = any($1)";
    let asked = ids(&stack.invoice_database_url(), asked, &started).await?;
    let charges = world.bank.charges()?;
    let is_open = |id: &&Uuid| asked.contains(id) || charges.iter().any(|charge| charge.key == **id);
    Ok(started.iter().filter(is_open).count() as u64)
}

async fn held(world: &World) -> Result<Vec<Uuid>> {
    let held = "select payment_id from ledger
                where status = 'started' and held_reason is not null and released_at is null";
    ids(&world.system.stack().payment_database_url(), held, &[]).await
}

/// What a refusal says of a payment that the bank has never seen.
const UNKNOWN: &str = "it does not know the payment";

/// By the bank's word. A decline has to wait for a day, since a call may come late: nothing is under way here any more.
async fn end_what_is_held(world: &World) -> Result<()> {
    let options = world.provider().service.options();
    let a_day_later = "update ledger set created_at = created_at - interval '2 days'
                       where status = 'started' and held_reason is not null and released_at is null
                       returning payment_id";
    for payment in ids(&world.system.stack().payment_database_url(), a_day_later, &[]).await? {
        let payment = payment.to_string();
        let reason = "its invoice was paid under another id";
        for status in ["declined", "succeeded"] {
            let mut end = vec!["ledger", "resolve", &payment, status, "--reason", reason];
            let ended = match cli::run_ok(options, &end).await {
                Err(refused) if status == "declined" && refused.to_string().contains(UNKNOWN) => {
                    end.push("--force");
                    cli::run_ok(options, &end).await
                }
                ended => ended,
            };
            // Refused if the bank says otherwise.
            if ended.is_ok() {
                break;
            }
        }
    }
    Ok(())
}

async fn void_what_was_paid_under_another_id(world: &World, client: &Client) -> Result<()> {
    let stack = world.system.stack();
    let ended = "select invoice_id from ledger where held_reason = 'number_paid' and status = 'declined'";
    let ended = ids(&stack.payment_database_url(), ended, &[]).await?;
    let unpaid = "select id from invoices where status = 'unpaid' and id = any($1)";
    for invoice in ids(&stack.invoice_database_url(), unpaid, &ended).await? {
        client.void(&invoice.to_string()).await?;
    }
    Ok(())
}

/// The ids that a query names, given others if it has a place for them.
async fn ids(url: &str, query: &'static str, given: &[Uuid]) -> Result<Vec<Uuid>> {
    let mut database = PgConnection::connect(url).await?;
    let mut query_of = sqlx::query_scalar::<_, Uuid>(query);
    if query.contains("$1") {
        query_of = query_of.bind(given);
    }
    let ids = query_of.fetch_all(&mut database).await?;
    database.close().await?;
    Ok(ids)
}
