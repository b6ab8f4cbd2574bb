//! The simulated bank behind a door: what is called is written down, and chosen calls wait until the door opens.

use std::{collections::HashSet, sync::Mutex};

use futures_util::{FutureExt as _, future::BoxFuture};
use payment_contract::{PaymentId, messages::PayRequestV1};
use payment_provider::{
    gateway::{Gateway, simulated::Simulated},
    order::{Answer, CallError, IdempotencyKey, Order},
};
use service::database::WarmPool;
use tokio::sync::watch;
use uuid::Uuid;

/// A bank whose calls a test can count, hold up and spoil.
pub(crate) struct DooredBank {
    bank: Simulated,
    pays: Mutex<Vec<Uuid>>,
    finds: Mutex<Vec<Uuid>>,
    held: watch::Sender<HashSet<Uuid>>,
    dumb: watch::Sender<bool>,
}

impl DooredBank {
    pub(crate) fn new(books: WarmPool) -> Self {
        Self {
            bank: Simulated::new(books),
            pays: Mutex::default(),
            finds: Mutex::default(),
            held: watch::Sender::default(),
            dumb: watch::Sender::default(),
        }
    }

    /// Calls for this payment wait.
    pub(crate) fn hold(&self, payment_id: PaymentId) {
        self.held.send_modify(|held| {
            held.insert(payment_id.as_uuid());
        });
    }

    pub(crate) fn open(&self) {
        self.held.send_replace(HashSet::new());
    }

    /// Look-ups fail from now on, or no longer.
    pub(crate) fn answer_no_look_ups(&self, dumb: bool) {
        self.dumb.send_replace(dumb);
    }

    pub(crate) fn pays(&self, payment_id: PaymentId) -> usize {
        count(&self.pays, payment_id)
    }

    pub(crate) fn finds(&self, payment_id: PaymentId) -> usize {
        count(&self.finds, payment_id)
    }

    /// Both.
    pub(crate) fn calls(&self, payment_id: PaymentId) -> (usize, usize) {
        (self.pays(payment_id), self.finds(payment_id))
    }

    /// Charges without a provider knowing: a call whose answer was lost.
    pub(crate) async fn charge_unheard(&self, request: &PayRequestV1) -> Answer {
        let order = Order::of(request);
        self.bank.pay(request.payment_id.into(), &order).await.unwrap()
    }
}

fn count(calls: &Mutex<Vec<Uuid>>, payment_id: PaymentId) -> usize {
    calls
        .lock()
        .unwrap()
        .iter()
        .filter(|key| **key == payment_id.as_uuid())
        .count()
}

impl Gateway for DooredBank {
    fn pay<'a>(&'a self, key: IdempotencyKey, order: &'a Order) -> BoxFuture<'a, Result<Answer, CallError>> {
        async move {
            self.pays.lock().unwrap().push(key.as_uuid());
            let mut held = self.held.subscribe();
            held.wait_for(|held| !held.contains(&key.as_uuid()))
                .await
                .unwrap();
            self.bank.pay(key, order).await
        }
        .boxed()
    }

    fn find(&self, key: IdempotencyKey) -> BoxFuture<'_, Result<Option<Answer>, CallError>> {
        async move {
            self.finds.lock().unwrap().push(key.as_uuid());
            if *self.dumb.borrow() {
                return Err(CallError::Unknown("told to be dumb".to_owned()));
            }
            self.bank.find(key).await
        }
        .boxed()
    }
}
