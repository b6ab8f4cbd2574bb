//! Which log lines are written, changeable while the process runs, for a while: a forgotten `debug` must not fill a disk.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing_subscriber::{EnvFilter, Registry, reload};

/// A changed filter lasts this long, then the configured one is back.
pub const LASTS: Duration = Duration::from_mins(15);

static LOG_FILTER: OnceLock<LogFilter> = OnceLock::new();

struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    configured: String,
    /// Counts changes, so that an older one's end does not end a newer one.
    changes: AtomicU64,
}

/// Why the filter was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a filter.
    #[error("not a log filter: {0}; write for example debug or info,sqlx=warn")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was not started by this process.
    #[error("this process does not log")]
    NoLogs,
}

/// The layer that filters, to be installed once.
pub(crate) fn layer(configured: &str) -> reload::Layer<EnvFilter, Registry> {
    // A filter that cannot be parsed was refused with the configuration.
    let filter = parse(configured).unwrap_or_else(|_| EnvFilter::new("info"));
    let (layer, handle) = reload::Layer::new(filter);
    // A second start changes nothing: its layer is not installed either.
    let _ = LOG_FILTER.set(LogFilter {
        handle,
        configured: configured.to_owned(),
        changes: AtomicU64::new(0),
    });
    layer
}

/// Filters by `text` for as long as `lasts`. Must run inside a tokio runtime.
pub fn change(text: &str, lasts: Duration) -> Result<(), Error> {
    let current = LOG_FILTER.get().ok_or(Error::NoLogs)?;
    let filter = parse(text)?;
    current.handle.reload(filter).map_err(|_| Error::NoLogs)?;
    let change = current.changes.fetch_add(1, Ordering::SeqCst) + 1;
    tracing::info!(
        filter = text,
        lasts_s = lasts.as_secs(),
        "the log filter was changed"
    );
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        if current.changes.load(Ordering::SeqCst) == change
            && let Ok(filter) = parse(&current.configured)
            && current.handle.reload(filter).is_ok()
        {
            tracing::info!(filter = current.configured, "the configured log filter is back");
        }
    });
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(complete(filter))
}

/// The NATS client logs each event and each failed attempt; our own connection says the same once a change.
fn complete(filter: &str) -> String {
    if filter.contains("async_nats") {
        filter.to_owned()
    } else {
        format!("{filter},async_nats=off")
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn the_nats_client_stays_quiet_unless_asked_for() {
        assert_eq!(complete("info"), "info,async_nats=off");
        assert_eq!(complete("info,async_nats=debug"), "info,async_nats=debug");
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_filter_lasts_for_a_while_and_the_latest_change_counts() {
        let _installed = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer("warn")));
        assert!(!enabled!(Level::INFO));
        assert!(matches!(change("no such=filter=", LASTS), Err(Error::Filter(_))));
        change("info", LASTS).unwrap();
        assert!(enabled!(Level::INFO) && !enabled!(Level::DEBUG));
        tokio::time::sleep(LASTS / 2).await;
        change("debug", LASTS).unwrap();
        tokio::time::sleep(LASTS * 3 / 4).await;
        assert!(
            enabled!(Level::DEBUG),
            "the first change's end does not end the second"
        );
        tokio::time::sleep(LASTS / 2).await;
        assert!(!enabled!(Level::INFO));
    }
}
