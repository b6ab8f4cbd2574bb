//! Links between a service and what it depends on, cut at a switch and mended at the next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use local_stack::{CutProxy, Error, Result, ServiceKind, Stack};
use tokio::task::AbortHandle;

use super::{faults::FROZEN_FOR, lock};

/// What can be cut, by the name of its switch.
const LINKS: [(&str, ServiceKind, End); 4] = [
    ("invoice-app-nats", ServiceKind::InvoiceApp, End::Nats),
    ("invoice-app-postgres", ServiceKind::InvoiceApp, End::Postgres),
    ("payment-provider-nats", ServiceKind::PaymentProvider, End::Nats),
    (
        "payment-provider-postgres",
        ServiceKind::PaymentProvider,
        End::Postgres,
    ),
];

/// Where a link leads.
#[derive(Clone, Copy, Debug)]
enum End {
    Nats,
    Postgres,
}

/// Which links are cut, and what mends each when nobody does.
#[derive(Default)]
pub(super) struct Cuts(Arc<Mutex<HashMap<&'static str, AbortHandle>>>);

impl Cuts {
    /// `None` when there is no such link.
    pub(super) fn switch(&self, stack: &Arc<Stack>, name: &str) -> Option<Result<String>> {
        let (name, service, end) = LINKS.into_iter().find(|(known, ..)| *known == name)?;
        let title = match end {
            End::Nats => "NATS",
            End::Postgres => "Postgres",
        };
        let service = service.as_str();
        if mend(&self.0, stack, name) {
            return Some(Ok(format!("{service} reaches {title} again")));
        }
        let links = proxies(stack, name);
        if links.is_empty() {
            let why = "this stack was started without links that can be cut".to_owned();
            return Some(Err(Error::Usage(why)));
        }
        links.iter().for_each(CutProxy::cut);
        let (cuts, stack) = (Arc::clone(&self.0), Arc::clone(stack));
        let mends = tokio::spawn(async move {
            tokio::time::sleep(FROZEN_FOR).await;
            mend(&cuts, &stack, name);
        });
        lock(&self.0).insert(name, mends.abort_handle());
        Some(Ok(format!(
            "{service} is cut off from {title}; it is linked again when you press again, or after {} s",
            FROZEN_FOR.as_secs()
        )))
    }

    /// By the names of their switches.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let cuts = lock(&self.0);
        let names = LINKS.into_iter().map(|(name, ..)| name);
        names.filter(|name| cuts.contains_key(name)).collect()
    }

    pub(super) fn mend_all(&self, stack: &Stack) {
        for (name, ..) in LINKS {
            mend(&self.0, stack, name);
        }
    }
}

/// Whether it was cut.
fn mend(cuts: &Mutex<HashMap<&'static str, AbortHandle>>, stack: &Stack, name: &str) -> bool {
    let Some(mends) = lock(cuts).remove(name) else {
        return false;
    };
    mends.abort();
    proxies(stack, name).iter().for_each(CutProxy::restore);
    true
}

fn proxies<'a>(stack: &'a Stack, name: &str) -> &'a [CutProxy] {
    let known = LINKS.into_iter().find(|(known, ..)| *known == name);
    let links = known.and_then(|(_, service, end)| Some((stack.links(service)?, end)));
    links.map_or(&[], |(links, end)| match end {
        End::Nats => links.to_nats(),
        End::Postgres => links.to_postgres(),
    })
}
