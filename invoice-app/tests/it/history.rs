//! What is told of one invoice's past, and of who asked for it.

use std::sync::{Arc, RwLock};

use invoice_app::{
    http::access::Access,
    tokens::{Scope, Tokens, generate},
};
use payment_contract::messages::{PaymentOutcomeV1, ProviderEffort};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{App, Options, answer, declined, id, new, succeeded};

#[tokio::test]
async fn history_tells_what_happened_to_an_invoice_oldest_first() {
    let app = App::start().await;
    let events = async |invoice: &str| {
        let (status, history) = app.get(&format!("/invoices/{invoice}/events")).await;
        assert_eq!(status, StatusCode::OK, "{history}");
        history["events"].as_array().unwrap().clone()
    };
    let types = |events: &[Value]| -> Vec<String> {
        events
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect()
    };

    let invoice = app.invoice("H1", "1.00").await;
    let first = app.pay(&invoice).await;
    app.settle(&[declined(&first, &invoice)]).await;
    let second = app.pay(&invoice).await;
    let effort = ProviderEffort {
        tries: 2,
        looked_up: true,
        deliveries: 3,
        bank_ms: 2034,
    };
    let outcome = PaymentOutcomeV1 {
        provider: Some(effort),
        ..succeeded(&second, &invoice)
    };
    app.settle(&[outcome]).await;
    let told = events(&invoice).await;
    assert_eq!(
        types(&told),
        [
            "invoice.created",
            "invoice.pending",
            "invoice.declined",
            "invoice.pending",
            "invoice.paid"
        ]
    );
    let payments: Vec<&Value> = told.iter().map(|event| &event["payment_id"]).collect();
    assert_eq!(
        payments,
        [
            &Value::Null,
            &json!(first),
            &json!(first),
            &json!(second),
            &json!(second)
        ]
    );
    assert_eq!(told[2]["reason"], "insufficient_funds");
    assert_eq!(told[4]["reason"], Value::Null);
    let provider: Vec<&Value> = told.iter().map(|event| &event["provider"]).collect();
    let null = &Value::Null;
    assert_eq!(
        provider,
        [null, null, null, null, &serde_json::to_value(effort).unwrap()]
    );

    let void = app.invoice("H2", "1.00").await;
    app.post(&format!("/invoices/{void}/void"), json!({})).await;
    assert_eq!(types(&events(&void).await), ["invoice.created", "invoice.voided"]);

    let (status, _) = app.get("/invoices/unknown/events").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn history_names_the_token_behind_each_step() {
    let names = ["maker", "clerk", "payer"];
    let (tokens, entries): (Vec<String>, Vec<String>) =
        names.iter().map(|name| generate(name, &Scope::ALL)).unzip();
    let tokens: [String; 3] = tokens.try_into().unwrap();
    let access = Tokens::parse(&entries.concat()).unwrap();
    let app = App::with(Options {
        access: Access::Tokens(Arc::new(RwLock::new(Arc::new(access)))),
        ..Options::default()
    })
    .await;
    let [maker, clerk, payer] = &tokens;
    let call = async |method: Method, token: &str, path: &str, body: Value| {
        let request = app
            .request(method, path)
            .bearer_auth(token)
            .header("prefer", "respond-async")
            .json(&body);
        let (status, document) = answer(request).await;
        assert!(status.is_success(), "{path}: {status} {document}");
        document
    };
    let history = async |invoice: &str| -> Vec<(String, Value)> {
        let path = format!("/invoices/{invoice}/events");
        let request = app.request(Method::GET, &path).bearer_auth(maker);
        let (_, document) = answer(request).await;
        let events = document["events"].as_array().unwrap().iter();
        let told = events.map(|event| (event["type"].as_str().unwrap().to_owned(), event["actor"].clone()));
        told.collect()
    };
    let told = |steps: &[(&str, Value)]| -> Vec<(String, Value)> {
        steps
            .iter()
            .map(|(kind, actor)| (format!("invoice.{kind}"), actor.clone()))
            .collect()
    };

    let invoice = id(&call(Method::POST, maker, "/invoices", new("H1", "1.00")).await);
    let first = id(&call(
        Method::POST,
        clerk,
        &format!("/invoices/{invoice}/pay"),
        json!({}),
    )
    .await);
    app.settle(&[declined(&first, &invoice)]).await;
    let many = json!({"ids": [invoice]});
    call(Method::POST, payer, "/invoices/pay", many).await;
    assert_eq!(
        history(&invoice).await,
        told(&[
            ("created", json!("maker")),
            ("pending", json!("clerk")),
            ("declined", Value::Null),
            ("pending", json!("payer")),
        ])
    );

    let lines = "{\"number\": \"H2\", \"amount\": {\"value\": \"1.00\", \"currency\": \"EUR\"}}\n\
                 {\"amount\": {\"value\": \"1.00\", \"currency\": \"EUR\"}}\n";
    let import = app
        .request(Method::POST, "/invoices/import")
        .bearer_auth(clerk)
        .header("content-type", "application/x-ndjson")
        .body(lines);
    assert_eq!(answer(import).await.1["created"], 2);
    let unpaid = call(Method::GET, maker, "/invoices?status=unpaid", json!({})).await;
    let imported = unpaid["invoices"].as_array().unwrap();
    assert_eq!(imported.len(), 2, "{unpaid}");
    for invoice in imported {
        let invoice = id(invoice);
        call(
            Method::POST,
            maker,
            &format!("/invoices/{invoice}/void"),
            json!({}),
        )
        .await;
        assert_eq!(
            history(&invoice).await,
            told(&[("created", json!("clerk")), ("voided", json!("maker"))])
        );
    }
}
