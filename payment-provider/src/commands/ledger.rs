//! `ledger list|show|resolve|release|declare-lost`.

use std::{process::ExitCode, time::Duration};

use clap::Subcommand;
use jetstream::{connection::Connection, publish::Publisher};
use payment_contract::PaymentId;
use service::{BoxError, output};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    declare_lost::{self, Lost},
    resolve::{OperatorDecision, Resolved, resolve},
    shown,
};
use crate::{
    app::{self, Parts},
    config::Config,
    outcomes::Outcomes,
    store::{LedgerFilter, Store, Taken},
};

/// How long a command waits for NATS.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest reason; it is shown in invoice-app too.
const LONGEST_REASON: usize = 200;

/// What `ledger --help` ends with.
pub const EXAMPLES: &str = "Examples:
  payment-provider ledger list --open
  payment-provider ledger show 01f1c2d3-0000-8000-8000-000000000001
  payment-provider ledger resolve 01f1c2d3-0000-8000-8000-000000000001 succeeded --reason \"on the bank's statement of 12 May\"
  payment-provider ledger release --new --reason \"the books agree\"";

/// What becomes of released payments.
const GO_ON: &str = "each goes on when its request comes again, within some minutes";

/// `ledger …`, for clap.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Lists payments, those of the newest invoices first; with --open or --held, oldest first.
    List {
        /// Only those that are not finished.
        #[arg(long)]
        open: bool,
        /// Only those that wait for an operator to release or end them.
        #[arg(long, conflicts_with = "open")]
        held: bool,
        /// For programs: a JSON list.
        #[arg(long)]
        json: bool,
        /// At most so many.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// Shows one payment whole, and what operators decided about it.
    Show {
        /// The payment's id.
        payment_id: PaymentId,
        /// For programs: a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Ends an open or held payment by hand. Asks the bank first, and refuses what the bank contradicts. Without the bank's word
    /// `declined` is refused until the payment is older than `gateway.key_retention_s` and an hour, since a call that nobody heard
    /// the end of may still be carried out; a held one is as old as its row.
    Resolve(OperatorDecision),
    /// Lets held payments go on, as if they had just been asked for: the bank is asked whether it knows them, then called. One
    /// that is held for its invoice number goes on only with --force while another payment with the number succeeded or is open.
    Release(ReleaseArgs),
    /// Ends a payment as declined that the ledger never had, since its request was rejected for good, so that its invoice
    /// can be paid again or voided. Asks the bank first.
    DeclareLost(Lost),
}

/// `ledger release …`
#[derive(Clone, Debug, clap::Args)]
pub struct ReleaseArgs {
    /// These.
    #[arg(value_name = "PAYMENT_ID", required_unless_present = "new")]
    payment_ids: Vec<PaymentId>,
    /// All that are held only because `ledger.hold_new_payments` was on; page by page, so that it can be interrupted and repeated.
    #[arg(long, conflicts_with = "payment_ids")]
    new: bool,
    /// Another payment with the invoice number succeeded or is open, and yet this one is owed as well.
    #[arg(long, conflicts_with = "new")]
    force: bool,
    /// On what grounds; kept.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Who decides; kept. Without it $USER, or else the database user.
    #[arg(long)]
    by: Option<String>,
}

/// Runs one of the commands.
pub async fn run(config: &Config, command: Command) -> Result<ExitCode, BoxError> {
    let parts = Parts::try_new(config)?;
    match command {
        Command::List {
            open,
            held,
            json,
            limit,
        } => {
            let filter = match (open, held) {
                (_, true) => LedgerFilter::Held,
                (true, false) => LedgerFilter::Open,
                (false, false) => LedgerFilter::Latest,
            };
            list(&parts.store, filter, limit, json).await?;
        }
        Command::Show { payment_id, json } => show(&parts.store, payment_id, json).await?,
        Command::Release(which) => release(&parts.store, which).await?,
        Command::DeclareLost(mut lost) => {
            lost.decided_by = whoever(lost.decided_by);
            publish(config, declare_lost::declare_lost(&parts, lost).await?).await;
        }
        Command::Resolve(mut decision) => {
            decision.resolved_by = whoever(decision.resolved_by);
            publish(config, resolve(&parts, decision).await?).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A connection that is up; an error when NATS is away.
pub(super) async fn connected(config: &Config) -> Result<Connection, BoxError> {
    let connection = app::connect(config).await?;
    let mut link = connection.link();
    let up = timeout(CONNECT, link.wait_for(|link| link.connected)).await;
    if matches!(up, Ok(Ok(_))) {
        Ok(connection)
    } else {
        Err("NATS is away".into())
    }
}

/// Says and publishes how a payment was ended.
async fn publish(config: &Config, resolved: Resolved) {
    let outcome = &resolved.outcome;
    println!(
        "payment {} is {} now; asked first, the bank said: {}",
        outcome.payment_id,
        outcome.status.as_str(),
        resolved.bank_said
    );
    let published = match connected(config).await {
        Err(error) => Err(error),
        Ok(connection) => {
            let outcomes = Outcomes::new(Publisher::new(connection.clone()));
            let published = outcomes.publish(outcome, resolved.trace.as_ref()).await;
            connection.close(CONNECT).await;
            published.map_err(BoxError::from)
        }
    };
    match published {
        Ok(()) => println!("its outcome is published"),
        Err(error) => {
            println!("its outcome is not published yet ({error}): that happens when its request comes again");
        }
    }
}

async fn list(store: &Store, filter: LedgerFilter, limit: i64, json: bool) -> Result<(), BoxError> {
    let rows = store.list(filter, limit).await?;
    let summaries = || rows.iter().map(shown::summary).collect();
    output::show(json, summaries, || shown::table(&rows));
    if i64::try_from(rows.len()).is_ok_and(|rows| rows == limit) {
        eprintln!("there may be more: raise --limit");
    }
    Ok(())
}

async fn show(store: &Store, payment_id: PaymentId, json: bool) -> Result<(), BoxError> {
    let row = store.show(payment_id).await?;
    let row = row.ok_or(format!("there is no payment {payment_id} in the ledger"))?;
    let decisions = store.resolutions(payment_id).await?;
    output::show(
        json,
        || shown::whole(&row, &decisions),
        || shown::fields(&row, &decisions),
    );
    Ok(())
}

async fn release(store: &Store, which: ReleaseArgs) -> Result<(), BoxError> {
    let by = whoever(which.by);
    if which.new {
        let tell = |released| eprintln!("{released} released so far");
        let released = store.release_new(&which.reason, by.as_deref(), tell).await?;
        println!("{released} released; {GO_ON}");
        return Ok(());
    }
    let ids: Vec<Uuid> = which.payment_ids.iter().map(|id| id.as_uuid()).collect();
    let taken = store.numbers_taken(&ids).await?;
    if !taken.is_empty() && !which.force {
        return Err(twice(&taken).into());
    }
    let beside: Vec<Uuid> = taken.iter().map(|taken| taken.payment_id).collect();
    let released = store
        .release_held(&ids, &beside, &which.reason, by.as_deref())
        .await?;
    let missed = ids.iter().filter(|id| !released.contains(id));
    let missed: Vec<String> = missed.map(Uuid::to_string).collect();
    println!("{} released; {GO_ON}", released.len());
    if missed.is_empty() {
        Ok(())
    } else {
        Err(format!("not held: {}", missed.join(", ")).into())
    }
}

/// Why nothing was released.
fn twice(taken: &[Taken]) -> String {
    let one = |taken: &Taken| {
        let Taken {
            payment_id,
            by,
            status,
        } = taken;
        format!("{payment_id}: {by} with the same number is {status}\n")
    };
    let ones: Vec<String> = taken.iter().map(one).collect();
    format!(
        "nothing was released, since an invoice number would be paid twice:\n{}look at the others (`ledger show`), and let open \
         ones end; if both are owed: --force",
        ones.concat()
    )
}

fn whoever(by: Option<String>) -> Option<String> {
    by.or_else(|| std::env::var("USER").ok())
        .filter(|by| !by.trim().is_empty())
}

pub(super) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control) {
        return Err(format!("must be 1 to {LONGEST_REASON} characters on one line"));
    }
    Ok(text.to_owned())
}
