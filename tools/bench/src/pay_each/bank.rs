//! A bank in a process of its own that takes its time, times out after charging now and then, and declines some.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use local_stack::{Process, Spec, built_binary, free_port, wait_for_ok};
use payment_contract::Money;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::net::TcpListener;
use uuid::Uuid;

use acceptance::{
    Error, Result,
    bank::{Bank, Behaviour},
    client::Client,
};
use reconcile::{BankBooks, Status};

/// Its usual time to answer.
const LATENCY: Duration = Duration::from_millis(50);
/// That, give or take this part of it.
const JITTER: f64 = 0.3;
/// Of a thousand payments these many are charged and never answered.
const TIMEOUTS: u64 = 10;
/// And these many are declined.
const DECLINES: u64 = 20;
/// Starting takes milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running bank.
pub struct RemoteBank {
    process: Process,
    client: Client,
    url: String,
    _directory: TempDir,
}

/// What it did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Books {
    /// Every charge.
    charges: Vec<Charged>,
    /// What was wrong with the calls it got.
    pub complaints: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Charged {
    key: Uuid,
    status: String,
    value: String,
    currency: String,
}

impl Books {
    /// As the check takes it.
    pub fn record(self) -> Result<BankBooks> {
        let charges = self.charges.into_iter().map(|charge| {
            Ok(reconcile::Charge {
                key: charge.key,
                status: Status::try_new(&charge.status, "pending")?,
                amount: Money::parse(&charge.value, &charge.currency)?,
                reference: format!("bank-{}", charge.key),
                age: Duration::ZERO,
            })
        });
        Ok(BankBooks::Record(charges.collect::<Result<_>>()?))
    }
}

impl RemoteBank {
    /// Starts one whose moods follow from `seed`.
    pub async fn start(seed: u64) -> Result<Self> {
        let directory = TempDir::new()?;
        let port = free_port();
        let mut spec = Spec::new("bank", built_binary("bench")?, directory.path().join("log"));
        spec.args = vec![
            "bank".into(),
            format!("--port={port}").into(),
            format!("--seed={seed}").into(),
        ];
        let process = Process::init(spec).await?;
        let address = format!("http://127.0.0.1:{port}");
        let ready = async { wait_for_ok(&format!("{address}/url")).await };
        process.ready_within(START_LIMIT, ready).await?;
        let client = Client::try_new(&address)?;
        let url = client.get("/url").await?.expect(200)?;
        let url = url
            .as_str()
            .ok_or_else(|| Error::new("the bank has no address"))?;
        Ok(Self {
            process,
            client,
            url: url.to_owned(),
            _directory: directory,
        })
    }

    /// For `gateway.url`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it did.
    pub async fn books(&self) -> Result<Books> {
        let books = self.client.get("/books").await?.expect(200)?;
        Ok(serde_json::from_value(books)?)
    }
}

/// The role: the bank that the tests use, with moods, and a second door to look at its books.
pub async fn serve(port: u16, seed: u64) -> Result<()> {
    let bank = Bank::start(move |invoice, call| mood(seed, invoice, call)).await?;
    let router = Router::new()
        .route(
            "/url",
            get(|State(bank): State<Arc<Bank>>| async move { Json(bank.url()) }),
        )
        .route("/books", get(show_books))
        .with_state(Arc::new(bank));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    Ok(axum::serve(listener, router).await?)
}

async fn show_books(State(bank): State<Arc<Bank>>) -> (StatusCode, Json<Books>) {
    let charges = bank.charges().into_iter();
    let books = Books {
        charges: charges
            .map(|charge| Charged {
                key: charge.key,
                status: charge.status.to_owned(),
                value: charge.amount.0,
                currency: charge.amount.1,
            })
            .collect(),
        complaints: bank.complaints(),
    };
    (StatusCode::OK, Json(books))
}

/// The same for the same invoice, so that a run can be repeated.
fn mood(seed: u64, invoice: &str, call: u32) -> Behaviour {
    let mut hasher = DefaultHasher::new();
    (seed, invoice).hash(&mut hasher);
    let random = hasher.finish();
    match random % 1000 {
        n if n < TIMEOUTS && call == 1 => Behaviour::ChargeAndHang,
        n if (TIMEOUTS..TIMEOUTS + DECLINES).contains(&n) => Behaviour::Decline("insufficient_funds"),
        _ => {
            let place = f64::from(u32::try_from(random >> 40).unwrap_or_default()) / f64::from(1 << 24);
            Behaviour::SucceedAfter(LATENCY.mul_f64(1.0 + JITTER * (2.0 * place - 1.0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moods_come_as_often_as_they_should_and_the_same_for_the_same_invoice() {
        let moods: Vec<Behaviour> = (0..100_000).map(|n| mood(7, &format!("I{n}"), 1)).collect();
        let count = |wanted: fn(&Behaviour) -> bool| moods.iter().filter(|mood| wanted(mood)).count();
        let hangs = count(|mood| *mood == Behaviour::ChargeAndHang);
        let declines = count(|mood| matches!(mood, Behaviour::Decline(_)));
        assert!((800..1200).contains(&hangs), "{hangs}");
        assert!((1700..2300).contains(&declines), "{declines}");
        let times: Vec<Duration> = moods
            .iter()
            .filter_map(|mood| match mood {
                Behaviour::SucceedAfter(time) => Some(*time),
                _ => None,
            })
            .collect();
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(
            *least >= Duration::from_millis(35) && *least < Duration::from_millis(36),
            "{least:?}"
        );
        assert!(
            *most <= Duration::from_millis(65) && *most > Duration::from_millis(64),
            "{most:?}"
        );
        assert_eq!(mood(7, "I5", 1), mood(7, "I5", 1));
        let hung = (0..10_000)
            .map(|n| format!("I{n}"))
            .find(|invoice| mood(7, invoice, 1) == Behaviour::ChargeAndHang);
        assert!(matches!(mood(7, &hung.unwrap(), 2), Behaviour::SucceedAfter(_)));
    }
}
