//! NATS away, cut off or silent: calls work, and what they asked for goes out when it is back.

use std::time::Duration;

use acceptance::{
    Client, Load, System,
    client::{NO_WAIT, import_lines, text},
    eventually,
};
use local_stack::{CutProxy, Service, ServiceKind};

#[tokio::test(flavor = "multi_thread")]
async fn payments_asked_for_while_nats_is_away_are_made_when_it_is_back() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let one = client.create("1.00", "EUR").await.unwrap();
    client.import(import_lines("N", 50, 0)).await.unwrap();
    system.stack().nats().stop().await;

    let payment = client.pay(&one, &[("prefer", "wait=1")]).await.unwrap();
    assert_eq!(
        (payment.status, payment.text("/status")),
        (202, "requested"),
        "{payment:?}"
    );
    let batch = client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    assert_eq!(batch["pending"], 50);
    // Everything else works as ever, and neither process calls itself unready.
    assert_eq!(text(&client.invoice(&one).await.unwrap(), "/status"), "pending");
    assert!(client.pay(&one, NO_WAIT).await.unwrap().is_problem(409));
    assert!(client.void(&one).await.unwrap().is_problem(409));
    for service in [system.stack().invoice_app(), system.stack().payment_provider()] {
        let admin = Client::try_new(&service.admin_url()).unwrap();
        for probe in ["/livez", "/readyz"] {
            assert_eq!(admin.get(probe).await.unwrap().status, 200, "{probe}");
        }
    }

    system.stack().nats().start_again().await.unwrap();
    system.expect_all_paid(51, 2).await.unwrap();
}

/// Both services behind proxies, in place of the stack's own.
struct Proxied {
    system: System,
    client: Client,
    services: [Service; 2],
    proxies: [CutProxy; 2],
}

impl Proxied {
    async fn start() -> Self {
        let system = System::start().await.unwrap();
        let stack = system.stack();
        let port = stack.nats().port();
        let proxies = [
            CutProxy::start(port).await.unwrap(),
            CutProxy::start(port).await.unwrap(),
        ];
        let url = |proxy: &CutProxy| format!("tls://127.0.0.1:{}", proxy.port());
        let [a, b] = [url(&proxies[0]), url(&proxies[1])];
        tokio::join!(
            stack.invoice_app().stop(Duration::from_secs(30)),
            stack.payment_provider().stop(Duration::from_secs(30))
        );
        let (invoice_app, payment_provider) = tokio::try_join!(
            system.replica(ServiceKind::InvoiceApp, "invoice-app", |options| {
                options.settings.insert("nats.url".to_owned(), a);
            }),
            system.replica(ServiceKind::PaymentProvider, "payment-provider", |options| {
                options.settings.insert("nats.url".to_owned(), b);
            }),
        )
        .unwrap();
        let client = Client::try_new(&invoice_app.url()).unwrap();
        Self {
            system,
            client,
            services: [invoice_app, payment_provider],
            proxies,
        }
    }
}

/// A service's link is cut under load, and then carries nothing for so long. It goes on serving.
pub(crate) async fn cut_and_silence(
    load: &mut Load<'_>,
    service: &Service,
    link: &CutProxy,
    silent: Duration,
) {
    load.wave(2000).await.unwrap();
    link.cut();
    load.moment(Duration::from_secs(2)).await;
    link.restore();

    load.wave(2000).await.unwrap();
    link.swallow();
    load.moment(silent).await;
    expect_healthy(service).await;
    link.restore();
}

pub(crate) async fn expect_healthy(service: &Service) {
    let admin = Client::try_new(&service.admin_url()).unwrap();
    for probe in ["/livez", "/readyz"] {
        assert_eq!(admin.get(probe).await.unwrap().status, 200, "{probe}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_and_silent_links_to_nats_lose_nothing() {
    let proxied = Proxied::start().await;
    let (system, client) = (&proxied.system, &proxied.client);
    let mut load = Load::through("links to NATS", system, client.clone());
    for (service, proxy) in proxied.services.iter().zip(&proxied.proxies) {
        // Silent for longer than any ping, sometimes: the service must notice by itself that nobody answers.
        cut_and_silence(&mut load, service, proxy, Duration::from_secs(25)).await;
    }
    load.expect_all_paid(4).await.unwrap();

    // And the links are in order again: a payment takes no resend.
    let id = client.create("1.00", "EUR").await.unwrap();
    client.pay(&id, NO_WAIT).await.unwrap();
    eventually("a later payment succeeds", || async {
        Ok(text(&client.invoice(&id).await?, "/status") == "paid")
    })
    .await
    .unwrap();
}
