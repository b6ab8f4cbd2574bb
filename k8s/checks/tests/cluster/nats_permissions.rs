//! What a service could say to NATS if somebody took it over: tried with its own key, from its own place.

use crate::kube::Cluster;

#[test]
fn invoice_app_can_neither_forge_outcomes_nor_listen_in() {
    let cluster = crate::cluster!();
    attack(
        &cluster,
        ("invoices", "invoice-app"),
        &["subscribe:_INBOX_invoice_app.probe", "publish:invoice.v1.changed"],
        &[
            "publish:pay.v1.outcome.succeeded",
            "publish:pay.v1.outcome.declined",
            "subscribe:pay.v1.outcome.*",
            "subscribe:pay.v1.request.*",
            "subscribe:_INBOX_payment_provider.>",
            "subscribe:_INBOX.>",
            "subscribe:>",
            "publish:$JS.API.STREAM.DELETE.PAY_REQUESTS",
            "publish:$JS.API.STREAM.PURGE.PAY_REQUESTS",
            "publish:$JS.API.STREAM.MSG.GET.PAY_REQUESTS",
            "publish:$JS.API.STREAM.CREATE.PAY_OUTCOMES",
            "publish:$JS.API.CONSUMER.DELETE.PAY_REQUESTS.payment-provider",
            "publish:$JS.ACK.PAY_REQUESTS.payment-provider.1.1.1.1.1",
            "publish:$SYS.REQ.SERVER.PING",
        ],
    );
}

#[test]
fn payment_provider_can_neither_forge_requests_nor_listen_in() {
    let cluster = crate::cluster!();
    attack(
        &cluster,
        ("payments", "payment-provider"),
        &["subscribe:_INBOX_payment_provider.probe"],
        &[
            "publish:pay.v1.request.EUR",
            "publish:invoice.v1.changed",
            "subscribe:pay.v1.request.*",
            "subscribe:pay.v1.outcome.*",
            "subscribe:_INBOX_invoice_app.>",
            "subscribe:_INBOX.>",
            "subscribe:>",
            "publish:$JS.API.STREAM.DELETE.PAY_OUTCOMES",
            "publish:$JS.API.STREAM.PURGE.PAY_OUTCOMES",
            "publish:$JS.API.STREAM.MSG.GET.PAY_OUTCOMES",
            "publish:$JS.API.STREAM.CREATE.PAY_REQUESTS",
            "publish:$JS.API.CONSUMER.DELETE.PAY_OUTCOMES.invoice-app",
            "publish:$JS.ACK.PAY_OUTCOMES.invoice-app.1.1.1.1.1",
            "publish:$SYS.REQ.SERVER.PING",
        ],
    );
}

/// Allowed ones stand beside the refused, or a broken probe would look like a safe server.
fn attack(cluster: &Cluster, (namespace, name): (&str, &str), allowed: &[&str], refused: &[&str]) {
    let login = [
        "nats",
        "--url=tls://nats.messaging.svc:4222",
        "--nkey-seed-file=/user/nkey.seed",
        "--ca-file=/user/ca.crt",
    ];
    let answers = cluster.probe(
        namespace,
        name,
        Some("nats-user"),
        &[&login, allowed, refused].concat(),
    );
    for (tries, word) in [(allowed, "allowed"), (refused, "refused")] {
        for tried in tries {
            assert!(
                answers.lines().any(|line| line == format!("{tried} {word}")),
                "{tried} is not {word}: {answers}"
            );
        }
    }
}
