//! What every round does: invoices are created, imported, paid and voided by a caller who repeats each call, under its key,
//! until it is answered. Among them are those that the bank refuses, and those whose calls time out.

use acceptance::{
    Answer, Client, Error, Result,
    client::{NO_WAIT, text},
    eventually, stream_state,
};
use local_stack::{NatsServer, RawNats, User};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::Crash;

/// Amounts that the bank refuses.
const REFUSED: [&str; 2] = ["4000.01", "4000.02"];
/// Amounts whose first call comes to nothing, two of a kind: together they keep both lines to the bank busy for so long
/// that the leases of those who wait have to be renewed.
const TROUBLED: [&str; 5] = ["4000.05", "4000.06", "4000.05", "4000.06", "4000.04"];
/// Amounts without any trouble.
const PLAIN: usize = 16;
/// More than a call hands over row by row.
const MANY: usize = 220;

/// What a round needs besides the usual, so that its points are reached.
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own")]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// So many invoices that they are read back in pages.
    pub(super) many: bool,
    /// NATS is away while invoices are asked to be paid.
    pub(super) nats_away: bool,
    /// And has forgotten everything.
    pub(super) nats_forgets: bool,
    /// A request that nobody can read.
    pub(super) bad_request: bool,
    /// An outcome that nobody can read.
    pub(super) bad_outcome: bool,
}

impl Needs {
    pub(super) fn of(crashes: &[Crash]) -> Self {
        let mut needs = Self::default();
        for crash in crashes {
            match crash.point {
                "batch.page_read" => needs.many = true,
                // What could not be sent is due at once, so that the sweep surely finds it.
                "requests.releasing" | "requests.released" | "sweep.claimed" => {
                    needs.nats_away = true;
                }
                "forgotten.committing" | "forgotten.committed" => {
                    needs.nats_away = true;
                    needs.nats_forgets = true;
                }
                "dead_letters.storing"
                | "dead_letters.stored"
                | "message.terminating"
                | "message.terminated" => match crash.service {
                    local_stack::ServiceKind::InvoiceApp => needs.bad_outcome = true,
                    local_stack::ServiceKind::PaymentProvider => needs.bad_request = true,
                },
                _ => {}
            }
        }
        needs
    }
}

/// How many invoices a round made, and how many of them are to be paid in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) invoices: usize,
    pub(super) paid: usize,
}

/// Publishes what the round needs that nobody can read. How many dead letters it makes on each side.
pub(super) async fn publish_bad_messages(nats: &NatsServer, needs: Needs) -> Result<(u64, u64)> {
    if needs.bad_request {
        publish_bad_message(nats, User::InvoiceApp, "PAY_REQUESTS", "pay.v1.request.eur").await?;
    }
    if needs.bad_outcome {
        publish_bad_message(
            nats,
            User::PaymentProvider,
            "PAY_OUTCOMES",
            "pay.v1.outcome.succeeded",
        )
        .await?;
    }
    Ok((u64::from(needs.bad_outcome), u64::from(needs.bad_request)))
}

/// What is published while NATS has forgotten the stream is kept by nobody.
async fn publish_bad_message(nats: &NatsServer, user: User, stream: &str, subject: &str) -> Result<()> {
    eventually("the stream is there", || async {
        stream_state(nats, stream).await
    })
    .await?;
    // Each another one: after a wipe the stream counts from 1 again, and equal messages at equal places are one letter.
    let garbage = format!("garbage {}", Uuid::now_v7());
    let refusals = RawNats::connect(nats, user)?.publish(subject, "", garbage.as_bytes())?;
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!("{refusals:?}")))
}

/// Creates one invoice, imports the others, and asks for all to be paid: one by itself, then all that are unpaid.
pub(super) async fn ask_for_payments(client: &Client, needs: Needs) -> Result<Made> {
    let key = Uuid::now_v7().to_string();
    let body = json!({"amount": {"value": "12.15", "currency": "EUR"}});
    let created = repeated(
        client,
        Method::POST,
        "/invoices",
        &key,
        Body::Json(body.to_string()),
    )
    .await?;
    let id = created.text("/id").to_owned();
    let path = format!("/invoices/{id}/pay");
    repeated(client, Method::POST, &path, &key_for(&key, "one"), Body::None).await?;

    let plain = if needs.many { MANY } else { PLAIN };
    let lines = lines(&key, plain);
    let import_key = key_for(&key, "import");
    let imported = repeated(
        client,
        Method::POST,
        "/invoices/import",
        &import_key,
        Body::Lines(lines),
    )
    .await?;
    let others = plain + REFUSED.len() + TROUBLED.len();
    if imported.body.pointer("/created") != Some(&json!(others)) {
        return Err(Error::new(format!(
            "{others} should have been imported: {imported:?}"
        )));
    }
    repeated(
        client,
        Method::POST,
        "/invoices/pay",
        &key_for(&key, "all"),
        Body::None,
    )
    .await?;
    Ok(Made {
        invoices: others + 1,
        paid: others + 1 - REFUSED.len(),
    })
}

/// Voids what the bank refused, so that the next round does not pay it again.
pub(super) async fn void_refused(client: &Client) -> Result<()> {
    let unpaid = eventually("the unpaid invoices are listed", || async {
        client.list("status=unpaid&limit=1000").await.map(Some)
    })
    .await?;
    for invoice in unpaid {
        let id = text(&invoice, "/id").to_owned();
        eventually("an invoice is void", || async {
            client.void(&id).await?.expect(200).map(Some)
        })
        .await?;
    }
    Ok(())
}

fn key_for(key: &str, call: &str) -> String {
    format!("{key}-{call}")
}

/// Import lines, those with trouble first: they are to be paid first.
fn lines(key: &str, plain: usize) -> String {
    let amounts = TROUBLED
        .iter()
        .chain(&REFUSED)
        .map(|value| ((*value).to_owned(), "EUR"));
    let plain = (1..=plain).map(|i| match i % 3 {
        0 => (format!("{i}"), "JPY"),
        1 => (format!("{i}.125"), "KWD"),
        _ => (format!("{i}.25"), "DKK"),
    });
    let line = |(i, (value, currency)): (usize, (String, &str))| {
        json!({"number": format!("{key}-{i}"), "amount": {"value": value, "currency": currency}}).to_string()
    };
    amounts
        .chain(plain)
        .enumerate()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

enum Body {
    None,
    Json(String),
    Lines(String),
}

/// Calls again, under the same key, until there is an answer that is one: a crash breaks the connection, and the first call
/// may still hold the key.
async fn repeated(client: &Client, method: Method, path: &str, key: &str, body: Body) -> Result<Answer> {
    let (content_type, body) = match body {
        Body::None => ("", String::new()),
        Body::Json(body) => ("application/json", body),
        Body::Lines(body) => ("application/x-ndjson", body),
    };
    let mut headers = NO_WAIT.to_vec();
    headers.push(("idempotency-key", key));
    if !content_type.is_empty() {
        headers.push(("content-type", content_type));
    }
    eventually(&format!("{path} is answered"), || async {
        let answer = client
            .call(method.clone(), path, &headers, |request| {
                request.body(body.clone())
            })
            .await?;
        let in_use = answer.is_problem(409) && answer.text("/type").ends_with("key-in-use");
        match answer.status {
            200..=202 => Ok(Some(answer)),
            503 => Ok(None),
            409 if in_use => Ok(None),
            _ => Err(Error::new(format!("{answer:?}"))),
        }
    })
    .await
}
