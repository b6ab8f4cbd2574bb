//! The HTTP client for readiness checks and the demo.

use std::{sync::Once, time::Duration};

use crate::{Error, Result};

/// Makes ring the process's TLS implementation. Safe to call again.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the program has chosen one already, which is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A client that gives up after `timeout` and ignores the machine's proxy settings: everything here is local.
pub fn http_client(timeout: Duration) -> Result<reqwest::Client> {
    install_crypto_provider();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(timeout)
        .build()
        .map_err(|error| Error::Http(format!("could not make an HTTP client: {error}")))
}

/// Asks `url` until it answers with success. Never returns otherwise: the caller sets the limit.
pub async fn wait_for_ok(url: &str) -> Result<()> {
    let client = http_client(Duration::from_secs(2))?;
    loop {
        if let Ok(response) = client.get(url).send().await
            && response.status().is_success()
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
