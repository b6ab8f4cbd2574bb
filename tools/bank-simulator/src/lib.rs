//! A bank in a process of its own, with a durable record of every charge it ever makes: the witness that neither service
//! can influence. Speaks the protocol of payment-provider's `http` gateway, and misbehaves as its seed says.

mod books;
mod faults;
mod http;
mod journal;
mod record;
mod wire;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::net::TcpListener;

use self::{
    books::{Books, Order},
    faults::Dice,
    journal::Journal,
};
pub use self::{
    faults::{CallKind, Fault, Mix, MixError, Script},
    journal::Event,
    record::{Overlap, Record},
};

/// Why the bank cannot open or go on.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of a step of the bank.
pub type Result<T> = std::result::Result<T, Error>;

/// How the bank works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it writes down what it does; a former process's is continued.
    pub journal: PathBuf,
    /// Together with an invoice's number and the count of its calls, decides what goes wrong.
    pub seed: u64,
    /// How often what goes wrong.
    pub mix: Mix,
    /// Keys are forgotten this long after their first charge; then the same key charges again.
    pub forget_after: Option<Duration>,
    /// A caller hangs up after this long, whether or not the line tells: an older call is not in flight any more.
    pub caller_patience: Duration,
    /// The least that a slow call takes.
    pub fastest: Duration,
    /// The longest that a slow call takes.
    pub slowest: Duration,
    /// The longest that a late charge takes.
    pub latest: Duration,
}

impl Options {
    /// A bank without faults that keeps its promises.
    pub fn new(journal: PathBuf) -> Self {
        Self {
            journal,
            seed: 0,
            mix: Mix::default(),
            forget_after: None,
            caller_patience: Duration::from_secs(5),
            fastest: Duration::ZERO,
            slowest: Duration::from_secs(1),
            latest: Duration::from_secs(4),
        }
    }
}

/// An open bank. Cheap to clone.
#[derive(Clone)]
struct Simulator {
    options: Arc<Options>,
    dice: Dice,
    mix: Arc<Mutex<Mix>>,
    script: Arc<Mutex<Script>>,
    books: Arc<Mutex<Books>>,
    journal: Journal,
}

impl Simulator {
    /// Continues the journal; orders that were waiting to be charged still are.
    fn try_new(options: Options) -> Result<Self> {
        let (journal, events) = Journal::open(&options.journal)?;
        let mut books = Books::new(options.caller_patience, options.forget_after);
        for event in &events {
            books.replay(event);
        }
        let waiting = books.waiting();
        let bank = Self {
            dice: Dice::new(options.seed),
            mix: Arc::new(Mutex::new(options.mix.clone())),
            script: Arc::default(),
            books: Arc::new(Mutex::new(books)),
            journal,
            options: Arc::new(options),
        };
        for (order, due) in waiting {
            bank.charge_later(order, due.saturating_sub(journal::now_ms()));
        }
        Ok(bank)
    }

    /// Charges after so many milliseconds, whoever listens by then.
    fn charge_later(&self, order: Order, after_ms: u64) {
        let bank = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            bank.charge(&order, None).await;
        });
    }
}

/// Runs the bank on this listener, for ever. Must run inside a tokio runtime.
pub async fn serve(listener: TcpListener, options: Options) -> Result<()> {
    let bank = Simulator::try_new(options)?;
    wire::serve(listener, http::router(bank)).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
