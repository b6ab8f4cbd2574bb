//! Traces, as the collector of a backend sees them: one tree for a payment, through both services and the bank.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use acceptance::{
    BankProcess, Client, Collector, System,
    client::{NO_WAIT, WAIT, import_lines, text},
    collector::{self, CollectedSpan},
    eventually, settled,
};
use bank_simulator::{Fault, Script};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind::{
    self, Client as ClientKind, Consumer, Producer, Server,
};
use tokio::net::TcpListener;

const INVOICE_APP: &str = "invoice-app";
const PAYMENT_PROVIDER: &str = "payment-provider";
const PAY: &str = "POST /invoices/{id}/pay";
const PUBLISH_REQUEST: &str = "publish pay.v1.request.{currency}";
const PROCESS_REQUEST: &str = "process pay.v1.request.{currency}";
const PUBLISH_OUTCOME: &str = "publish pay.v1.outcome.{status}";
const PROCESS_OUTCOME: &str = "process pay.v1.outcome.{status}";
/// A caller's own span.
const CALLER: (&str, &str) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");

async fn system(bank: &BankProcess, env: BTreeMap<String, String>, settings: &[(&str, &str)]) -> System {
    let gateway = [("gateway.kind", "http"), ("gateway.url", &bank.url())];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    System::start_with(|options| {
        options.env.extend(env);
        options.payment_provider.extend(gateway.map(owned));
        options.invoice_app.extend(settings.iter().copied().map(owned));
    })
    .await
    .unwrap()
}

/// Those of a trace that have this name and kind and were made there.
fn those<'a>(
    trace: &'a [CollectedSpan],
    service: &str,
    kind: SpanKind,
    name: &str,
) -> Vec<&'a CollectedSpan> {
    let named = |span: &&CollectedSpan| span.service == service && span.kind == kind && span.name == name;
    trace.iter().filter(named).collect()
}

fn the<'a>(trace: &'a [CollectedSpan], service: &str, kind: SpanKind, name: &str) -> &'a CollectedSpan {
    let found = those(trace, service, kind, name);
    assert_eq!(found.len(), 1, "{name} among {trace:#?}");
    found[0]
}

/// Each of these is the child of one of those.
#[track_caller]
fn assert_each_below(spans: &[&CollectedSpan], parents: &[&CollectedSpan]) {
    let below = |span: &&CollectedSpan| parents.iter().any(|parent| span.is_below(parent));
    assert!(spans.iter().all(below), "{spans:#?} below {parents:#?}");
}

async fn pays_traced(client: &Client, number: &str) -> String {
    let line = format!(r#"{{"number":"{number}","amount":{{"value":"12.15","currency":"EUR"}}}}"#);
    client.import(line).await.unwrap();
    let invoice = client.list(&format!("number={number}")).await.unwrap();
    let traceparent = format!("00-{}-{}-01", CALLER.0, CALLER.1);
    let headers = [WAIT[0], ("traceparent", traceparent.as_str())];
    let paid = client.pay(text(&invoice[0], "/id"), &headers).await.unwrap();
    assert_eq!(paid.header("request-id"), CALLER.0);
    let payment = paid.expect(200).unwrap();
    assert_eq!(text(&payment, "/status"), "succeeded");
    text(&payment, "/id").to_owned()
}

/// With this seed the first call for the invoice `redelivered`, when it is an error, is a 500.
const SEED: u64 = 4;

/// The bank's first answer to this invoice helps nobody, so that its request is delivered twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_one_tree_through_both_services_and_a_redelivery_is_another_branch() {
    let bank = BankProcess::start_with(|options| options.seed = SEED)
        .await
        .unwrap();
    let first = Script::from([("redelivered".to_owned(), vec![Fault::ErrorAfter])]);
    bank.set_script(&first).await.unwrap();
    let collector = Collector::start().await.unwrap();
    let system = system(&bank, collector.env(200), &[]).await;
    let payment_id = pays_traced(&system.client().unwrap(), "redelivered").await;

    // The call, one request sent and delivered twice, a call to the bank and a look-up, one outcome sent and taken.
    let trace = collector.trace_of(CALLER.0, 8).await.unwrap();
    assert_eq!(trace.len(), 8, "{trace:#?}");
    let call = the(&trace, INVOICE_APP, Server, PAY);
    assert_eq!((call.parent_id.as_str(), call.failed), (CALLER.1, false));
    assert_eq!(call.attribute("http.route"), "/invoices/{id}/pay");
    assert_eq!(call.attribute("http.response.status_code"), "200");
    let request = the(&trace, INVOICE_APP, Producer, PUBLISH_REQUEST);
    assert!(request.is_below(call));
    let deliveries = those(&trace, PAYMENT_PROVIDER, Consumer, PROCESS_REQUEST);
    let nth = |n: &str| {
        let mut found = deliveries
            .iter()
            .filter(|span| span.attribute("delivery.attempt") == n);
        *found.next().unwrap()
    };
    let (first, second) = (nth("1"), nth("2"));
    assert!(first.is_below(request) && second.is_below(request));
    assert_eq!((first.failed, first.attribute("error.type")), (true, "retry"));
    assert!(!second.failed);
    let pay = the(&trace, PAYMENT_PROVIDER, ClientKind, "POST");
    assert!(pay.is_below(first) && pay.failed);
    assert_eq!(pay.attribute("http.response.status_code"), "500");
    let look_up = the(&trace, PAYMENT_PROVIDER, ClientKind, "GET");
    assert!(look_up.is_below(second) && !look_up.failed);
    let outcome = the(&trace, PAYMENT_PROVIDER, Producer, PUBLISH_OUTCOME);
    assert!(outcome.is_below(second));
    let settling = the(&trace, INVOICE_APP, Consumer, PROCESS_OUTCOME);
    assert!(settling.is_below(outcome) && !settling.failed);

    for (span, operation, kind, group) in [
        (request, "publish", "send", ""),
        (first, "process", "process", PAYMENT_PROVIDER),
        (outcome, "publish", "send", ""),
        (settling, "process", "process", INVOICE_APP),
    ] {
        assert_eq!(span.attribute("messaging.system"), "nats");
        assert_eq!(span.attribute("messaging.operation.name"), operation);
        assert_eq!(span.attribute("messaging.operation.type"), kind);
        assert_eq!(span.attribute("messaging.consumer.group.name"), group);
        assert_eq!(span.attribute("messaging.message.conversation_id"), payment_id);
    }
    assert_eq!(
        first.attribute("messaging.destination.name"),
        "pay.v1.request.eur"
    );
    assert_eq!(
        settling.attribute("messaging.destination.template"),
        "pay.v1.outcome.{status}"
    );
    assert_eq!(first.attribute("messaging.message.id"), format!("{payment_id}.1"));
    assert_eq!(settling.attribute("messaging.message.id"), payment_id);
    many_are_grouped(&system.client().unwrap(), &collector).await;
}

/// Requests of one call are sent together: each in a span of its own, with one span for them all.
async fn many_are_grouped(client: &Client, collector: &Collector) {
    const MANY: u32 = 150;
    client.import(import_lines("G", MANY, 0)).await.unwrap();
    let paid = client.pay_all(NO_WAIT).await.unwrap();
    let trace_id = paid.header("request-id").to_owned();
    settled(client, text(&paid.expect(202).unwrap(), "/batch_id"))
        .await
        .unwrap();
    let (sent, received) = eventually("the groups' spans have arrived", || async {
        let trace = collector.trace(&trace_id);
        let sent = those(&trace, INVOICE_APP, Producer, PUBLISH_REQUEST).len();
        let all = collector.all();
        let group = those(&all, INVOICE_APP, ClientKind, PUBLISH_REQUEST);
        let received = those(
            &all,
            PAYMENT_PROVIDER,
            ClientKind,
            "receive pay.v1.request.{currency}",
        );
        let arrived = sent == MANY as usize && group.len() == 1 && !received.is_empty();
        Ok(arrived.then(|| (group[0].clone(), received[0].clone())))
    })
    .await
    .unwrap();
    let trace = collector.trace(&trace_id);
    let producers = those(&trace, INVOICE_APP, Producer, PUBLISH_REQUEST);
    assert_eq!(sent.attribute("messaging.batch.message_count"), MANY.to_string());
    // An SDK keeps 128 links of a span.
    assert_eq!(
        producers
            .iter()
            .filter(|producer| sent.points_to(producer))
            .count(),
        128
    );
    assert_eq!(producers[0].attribute("messaging.operation.type"), "create");
    let count: usize = received
        .attribute("messaging.batch.message_count")
        .parse()
        .unwrap();
    assert!(count > 1);
    let taken = producers
        .iter()
        .filter(|producer| received.points_to(producer))
        .count();
    assert_eq!(taken, count.min(128), "whose links are the sending of each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_is_a_span_that_points_to_the_first_and_the_end_of_a_process_loses_none() {
    let bank = BankProcess::start_with(|_| {}).await.unwrap();
    let collector = Collector::start().await.unwrap();
    // Nothing is sent before the end.
    let system = system(&bank, collector.env(3_600_000), &[("sender.resend_after_s", "1")]).await;
    let client = system.client().unwrap();
    let stack = system.stack();
    stack
        .payment_provider()
        .stop(Duration::from_mins(1))
        .await
        .unwrap();
    let id = client.create("12.15", "EUR").await.unwrap();
    let asked = client.pay(&id, NO_WAIT).await.unwrap();
    let trace_id = asked.header("request-id").to_owned();
    asked.expect(202).unwrap();
    eventually("the request is sent again", || async {
        Ok(system
            .count_in_invoices("select max(sends)::bigint from payments")
            .await?
            > 1)
    })
    .await
    .unwrap();
    stack.payment_provider().start_again().await.unwrap();
    eventually("the invoice is paid", || async {
        Ok(text(&client.invoice(&id).await?, "/status") == "paid")
    })
    .await
    .unwrap();
    assert_eq!(collector.trace(&trace_id), [], "nothing is sent before the end");
    for service in [stack.payment_provider(), stack.invoice_app()] {
        assert!(service.stop(Duration::from_mins(1)).await.unwrap().success());
    }

    let trace = collector.trace(&trace_id);
    let call = the(&trace, INVOICE_APP, Server, PAY);
    assert!(call.parent_id.is_empty() && call.attribute("http.response.status_code") == "202");
    let sent = those(&trace, INVOICE_APP, Producer, PUBLISH_REQUEST);
    let (first, again): (Vec<&CollectedSpan>, Vec<&CollectedSpan>) = sent
        .iter()
        .copied()
        .partition(|span| span.attribute("messaging.message.id").ends_with(".1"));
    assert!(first.len() == 1 && !again.is_empty(), "{trace:#?}");
    assert!(first[0].links.is_empty());
    assert!(sent.iter().all(|span| span.is_below(call)));
    assert!(
        again
            .iter()
            .all(|span| span.points_to(first[0]) && span.links.len() == 1)
    );
    let taken = those(&trace, PAYMENT_PROVIDER, Consumer, PROCESS_REQUEST);
    assert!(taken.iter().any(|span| span.is_below(first[0])));
    assert_each_below(&taken, &sent);
    let answers = those(&trace, PAYMENT_PROVIDER, Producer, PUBLISH_OUTCOME);
    assert!(!answers.is_empty());
    assert_each_below(&answers, &taken);
    let settling = those(&trace, INVOICE_APP, Consumer, PROCESS_OUTCOME);
    assert!(!settling.is_empty());
    assert_each_below(&settling, &answers);
    let pay = the(&trace, PAYMENT_PROVIDER, ClientKind, "POST");
    assert!(taken.iter().any(|taken| pay.is_below(taken)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_delays_and_stops_nothing() {
    let bank = BankProcess::start_with(|_| {}).await.unwrap();
    // Connections are made, and then there is silence.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let system = system(&bank, collector::env(port, 100), &[]).await;
    let client = system.client().unwrap();
    client.import(import_lines("S", 2_000, 0)).await.unwrap();
    let paid = client.pay_all(NO_WAIT).await.unwrap().expect(202).unwrap();
    settled(&client, text(&paid, "/batch_id")).await.unwrap();
    for service in [system.stack().payment_provider(), system.stack().invoice_app()] {
        assert!(service.stop(Duration::from_mins(1)).await.unwrap().success());
    }
    system
        .check_against(bank.books().unwrap())
        .await
        .unwrap()
        .expect_succeeded(2_000)
        .unwrap();
}
