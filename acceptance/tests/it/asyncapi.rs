//! The documents of `nats/asyncapi` are written by hand, so everything in them that could go stale is held against golden
//! messages, the real settings of the streams, the grants of nats-server.conf, and messages as they come by.

mod document;
mod schema;

use std::{collections::BTreeSet, fs};

use acceptance::{LIMIT, streams::stream_detail};
use invoice_app::change_events::{self, ChangeEvent};
use jetstream::publish::{Outgoing, Publisher, Sent};
use local_stack::{User, workspace_root};
use payment_contract::{
    PaymentId,
    messages::{PayRequestV1, PaymentOutcomeV1},
    subjects::{PAY_REQUEST_TEMPLATE, PAYMENT_OUTCOME_TEMPLATE},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use self::document::{Documents, Place};
use crate::nats_permissions::{
    Server,
    side::{INVOICE_APP, PAYMENT_PROVIDER, SIDES, Side},
};

/// A service's document, the channel that is its stream, and the message there.
fn own(side: Side) -> (&'static str, &'static str, &'static str) {
    match side.user {
        User::InvoiceApp => ("invoice-app.yaml", "payRequests", "payRequestV1"),
        _ => ("payment-provider.yaml", "paymentOutcomes", "paymentOutcomeV1"),
    }
}

/// The golden files of a message, by the beginning of their names.
fn golden(prefix: &str) -> Vec<Value> {
    let directory = workspace_root().join("nats/contract/golden");
    let mut messages = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with(prefix) {
            messages.push(serde_json::from_slice(&fs::read(&path).unwrap()).unwrap());
        }
    }
    assert!(!messages.is_empty(), "{prefix}");
    messages
}

fn names(object: &Value) -> BTreeSet<&str> {
    object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect()
}

/// A message in a document, with how the code reads one.
fn assert_describes<M: DeserializeOwned>(message: &Place<'_>, golden: &[Value]) {
    let payload = message.at("payload");
    let mut shown = BTreeSet::new();
    for body in golden {
        assert_eq!(schema::findings(&payload, body), [""; 0], "{body}");
        shown.extend(names(body));
        for field in names(body) {
            let mut without = body.clone();
            without.as_object_mut().unwrap().remove(field);
            let needed = serde_json::from_value::<M>(without).is_err();
            let required = payload.value["required"].as_array().unwrap();
            assert_eq!(required.contains(&json!(field)), needed, "{field} is required");
        }
    }
    assert_eq!(names(&payload.value["properties"]), shown, "fields");
    let examples: Vec<&Value> = message.value["examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|example| &example["payload"])
        .collect();
    assert!(
        examples.len() == golden.len() && golden.iter().all(|body| examples.contains(&body)),
        "the examples are not the golden files: {examples:#?}"
    );
}

#[test]
fn documents_describe_every_field_of_every_message_and_no_other() {
    let documents = Documents::read();
    let request = documents.at("invoice-app.yaml", "/channels/payRequests/messages/payRequestV1");
    assert_describes::<PayRequestV1>(&request, &golden("pay_request_v1"));
    let outcome = documents.at(
        "invoice-app.yaml",
        "/channels/paymentOutcomes/messages/paymentOutcomeV1",
    );
    assert_describes::<PaymentOutcomeV1>(&outcome, &golden("payment_outcome_v1"));

    let changed = documents.at(
        "invoice-app.yaml",
        "/channels/invoicesChanged/messages/invoicesChangedV1",
    );
    let example = &changed.value["examples"][0]["payload"];
    let heard: ChangeEvent = serde_json::from_value(example.clone()).unwrap();
    assert_eq!(&serde_json::to_value(heard).unwrap(), example);
    assert_eq!(schema::findings(&changed.at("payload"), example), [""; 0]);
}

#[test]
fn a_document_that_drifts_is_noticed() {
    let documents = Documents::read();
    let outcome = documents.at("payment-provider.yaml", "/components/messages/PaymentOutcomeV1");
    let good = &golden("payment_outcome_v1_declined")[0];
    for (field, wrong) in [
        ("status", json!("pending")),
        ("reason", json!(7)),
        ("settled_at", json!("2026-01-02 03:04:06")),
        ("payment_id", json!("p1")),
        ("added", json!(null)),
    ] {
        let mut other = good.clone();
        other[field] = wrong;
        let findings = schema::findings(&outcome.at("payload"), &other);
        assert_eq!(findings.len(), 1, "{field}: {findings:?}");
    }
}

#[test]
fn documents_name_nothing_that_is_not_there() {
    let documents = Documents::read();
    assert!(documents.follow_every_reference() > 20);
    for side in SIDES {
        let (file, channel, _) = own(side);
        let document = documents.at(file, "");
        assert_eq!(document.value["asyncapi"], "3.0.0");
        assert_eq!(
            document.value["info"]["title"],
            format!("{} over NATS", side.user.as_str())
        );
        // What it sends is its own, and what it takes from a stream it takes by the durable that is described there.
        for operation in document.value["operations"].as_object().unwrap().values() {
            let stream = &operation["x-jetstream"];
            if stream.is_null() {
                continue;
            }
            assert_eq!(
                stream,
                &json!({"stream": side.peer.stream, "consumer": side.peer.durable, "prefix": "PEER.API"})
            );
        }
        let sends = document.value["operations"].as_object().unwrap().values();
        let sent: Vec<&Value> = sends
            .filter(|operation| operation["action"] == "send")
            .map(|operation| &operation["channel"]["$ref"])
            .collect();
        assert!(
            sent.contains(&&json!(format!("#/channels/{channel}"))),
            "{sent:?}"
        );
    }
    let hints = documents.at("invoice-app.yaml", "/channels/invoicesChanged");
    assert_eq!(hints.value["address"], change_events::SUBJECT);
}

#[test]
fn documents_grant_what_the_server_grants() {
    let documents = Documents::read();
    let server = fs::read_to_string(workspace_root().join("nats/nats-server.conf")).unwrap();
    for (side, key) in [
        (INVOICE_APP, "$NATS_PUBLIC_KEY_INVOICE_APP\n"),
        (PAYMENT_PROVIDER, "$NATS_PUBLIC_KEY_PAYMENT_PROVIDER\n"),
    ] {
        let (file, channel, _) = own(side);
        let (before, user) = server.split_at(server.find(&format!("nkey: {key}")).unwrap());
        let mut lines = before.lines().rev().filter(|line| !line.starts_with("     "));
        let account = lines.find_map(|line| line.trim().strip_suffix(" {"));
        let scheme = documents.at(file, "/components/securitySchemes/nkey/x-nats/account");
        assert_eq!(scheme.value, &json!(account), "{file}");
        let user = &user[..user.find("exports:").unwrap()];
        let (publish, subscribe) = user.split_once("subscribe {").unwrap();
        let permissions = documents.at(file, "/components/securitySchemes/nkey/x-nats/permissions");
        let granted = json!({"publish": quoted(publish), "subscribe": quoted(subscribe)});
        assert_eq!(permissions.value, &granted, "{file}");

        // And what the document says it does is within that.
        let stream = documents.at(file, &format!("/channels/{channel}"));
        let address = stream.value["address"].as_str().unwrap();
        let subject = format!("{}.*", address.rsplit_once(".{").unwrap().0);
        assert_eq!(
            stream.value["x-jetstream"]["stream"]["subjects"],
            json!([subject])
        );
        let pull = format!(
            "PEER.API.CONSUMER.MSG.NEXT.{}.{}",
            side.peer.stream, side.peer.durable
        );
        let publish = permissions.value["publish"].as_array().unwrap();
        for needed in [subject, pull] {
            assert!(publish.contains(&json!(needed)), "{file}: {needed}");
        }
    }
}

/// What stands in quotes, outside of comments.
fn quoted(configuration: &str) -> Vec<String> {
    let lines = configuration.lines().map(str::trim);
    let code = lines.filter(|line| !line.starts_with('#'));
    code.flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_have_every_setting_of_streams_and_consumers() {
    let documents = Documents::read();
    let server = Server::start().await;
    for side in SIDES {
        let (file, channel, _) = own(side);
        let described = documents.at(file, &format!("/channels/{channel}/x-jetstream"));
        let detail = stream_detail(&server.nats, side.own.stream)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(described.value["stream"], set(&detail["config"]), "{file}");
        let consumers = detail["consumer_detail"].as_array().unwrap();
        let consumers: Vec<Value> = consumers
            .iter()
            .map(|consumer| set(&consumer["config"]))
            .collect();
        assert_eq!(described.value["consumers"], json!(consumers), "{file}");
        let scheme = documents.at(file, "/components/securitySchemes/nkey/x-nats/account");
        assert_eq!(&described.value["account"], scheme.value, "{file}");
    }
}

/// The settings that say something: the server also writes down what is off, its own notes, and the number of replicas, which
/// is configuration.
fn set(config: &Value) -> Value {
    let off = |value: &Value| {
        [
            json!(false),
            json!(0),
            json!(""),
            json!("none"),
            json!({}),
            json!([]),
        ]
        .contains(value)
    };
    let unlimited = |name: &str, value: &Value| {
        ["max_consumers", "max_msgs", "max_msgs_per_subject"].contains(&name) && value == &json!(-1)
    };
    let config = config.as_object().unwrap().iter();
    let said = config.filter(|(name, value)| {
        !["metadata", "num_replicas"].contains(&name.as_str()) && !off(value) && !unlimited(name, value)
    });
    Value::Object(said.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_by_has_the_subject_and_headers_of_its_document() {
    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let documents = Documents::read();
    let server = Server::start().await;
    let mut debug = server.connect(User::Debug);
    debug.subscribe("pay.>").unwrap();
    let request: PayRequestV1 = serde_json::from_value(golden("pay_request_v1")[0].clone()).unwrap();
    let outcome: PaymentOutcomeV1 = serde_json::from_value(golden("payment_outcome_v1")[0].clone()).unwrap();
    let outgoing = |subject, template, message_id, payment_id: PaymentId, body| Outgoing {
        subject,
        template,
        message_id,
        conversation_id: payment_id.as_uuid(),
        sent: Sent::Once,
        traceparent: Some(TRACEPARENT.to_owned()),
        body,
    };
    let messages = [
        outgoing(
            request.subject(),
            PAY_REQUEST_TEMPLATE,
            request.message_id(1),
            request.payment_id,
            request.encode(),
        ),
        outgoing(
            outcome.subject(),
            PAYMENT_OUTCOME_TEMPLATE,
            outcome.message_id(),
            outcome.payment_id,
            outcome.encode(),
        ),
    ];
    for (side, message) in SIDES.into_iter().zip(messages) {
        let publisher = Publisher::new(side.connect(&server.nats).await);
        let template = message.template;
        publisher.send_confirmed(vec![message]).await.remove(0).unwrap();
        let heard = debug.next_message(LIMIT).unwrap().unwrap();
        let (file, channel, message) = own(side);
        let channel = documents.at(file, &format!("/channels/{channel}"));
        let address = channel.value["address"].as_str().unwrap();
        assert_eq!(address, template);
        let (before, parameter) = address.split_once('{').unwrap();
        let word = heard.subject.strip_prefix(before).unwrap();
        let parameter = &channel.value["parameters"][parameter.trim_end_matches('}')];
        let words = parameter["enum"].as_array().or(parameter["examples"].as_array());
        assert!(words.unwrap().contains(&json!(word)), "{}", heard.subject);

        let content = String::from_utf8(heard.content).unwrap();
        let (block, _) = content.split_once("\r\n\r\n").unwrap();
        let fields = block.lines().skip(1).map(|line| line.split_once(": ").unwrap());
        let headers: Map<String, Value> = fields
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let headers = Value::Object(headers);
        let described = channel.at("messages").at(message).at("headers");
        assert_eq!(schema::findings(&described, &headers), [""; 0], "{headers}");
        assert_eq!(names(&described.value["properties"]), names(&headers));
    }
}
