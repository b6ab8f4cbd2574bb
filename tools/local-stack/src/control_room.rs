//! The control room: one page on which payments are seen to move, things are broken at a switch, and the books are held
//! against the bank's own record all the time. `demo` serves it on the loopback address; it is part of no service.

mod action;
mod backup;
mod bank;
mod books;
mod counting;
mod cuts;
mod diary;
mod faults;
mod guard;
mod http;
mod jetstream;
mod numbers;
mod overheard;
mod snapshot;
mod work;

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use local_stack::{Error, Result, Stack};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use self::{
    backup::Copies, bank::Bank, books::Verdict, cuts::Cuts, diary::Diary, faults::Faults, numbers::Numbers,
    overheard::Overheard, work::Work,
};
use crate::commands::client::Client;

/// An open control room. What it holds frozen or dead is let go when it is closed.
pub(crate) struct ControlRoom {
    room: Arc<Room>,
    port: u16,
    tasks: JoinSet<()>,
}

/// What its parts have in common.
struct Room {
    stack: Arc<Stack>,
    client: Client,
    work: Work,
    faults: Faults,
    cuts: Cuts,
    bank: Bank,
    copies: Copies,
    diary: Diary,
    overheard: Overheard,
    numbers: Mutex<Numbers>,
    verdict: Mutex<Verdict>,
    /// What the page shows, as JSON; made once, however many look.
    state: watch::Sender<Arc<str>>,
}

impl ControlRoom {
    /// Opens it at this port.
    pub(crate) async fn open(stack: Arc<Stack>, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|_| Error::PortInUse {
                port,
                purpose: "the control room",
            })?;
        let room = Arc::new(Room {
            client: Client::try_new(stack.invoice_app().url())?,
            work: Work::default(),
            faults: Faults::default(),
            cuts: Cuts::default(),
            bank: Bank::from_env(),
            copies: Copies::new(stack.directory().join("copies")),
            diary: Diary::default(),
            overheard: Overheard::default(),
            numbers: Mutex::default(),
            verdict: Mutex::default(),
            state: watch::Sender::new("{}".into()),
            stack,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(http::serve(listener, port, Arc::clone(&room)));
        tasks.spawn(books::keep_checking(Arc::clone(&room)));
        tasks.spawn(counting::keep_counting(Arc::clone(&room)));
        tasks.spawn(overheard::listen(Arc::clone(&room)));
        tasks.spawn(diary::follow_logs(Arc::clone(&room)));
        tasks.spawn(backup::keep_copying(Arc::clone(&room)));
        Ok(Self { room, port, tasks })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Ends what it began: nothing stays frozen or cut, or the stack could not be stopped, and the books of a kept stack are a
    /// bank's again.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
        self.room.work.stop();
        self.room.cuts.mend_all(&self.room.stack);
        self.room.faults.end_all(&self.room.stack);
        if let Err(error) = bank::mend(&self.room).await {
            eprintln!("control room: {}", action::in_words(&error));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For `map_err` on statements of the control room's own.
fn database(action: &str) -> impl FnOnce(sqlx::Error) -> Error {
    let action = action.to_owned();
    move |source| Error::Database { action, source }
}
