//! Cursors and ids of events that were made up, or changed on the way.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::Value;

use crate::harness::{App, answer};

/// The same with each byte of what it stands for changed in turn.
fn forged(text: &str) -> Vec<String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
    let mut all = vec![
        format!("{text}="),
        format!("{text}A"),
        text[1..].to_owned(),
        "A".repeat(20_000),
    ];
    for place in 0..bytes.len() {
        for other in [0x00, 0xff, bytes[place] ^ 1] {
            let mut bytes = bytes.clone();
            bytes[place] = other;
            all.push(URL_SAFE_NO_PAD.encode(bytes));
        }
    }
    all.retain(|other| other != text);
    all
}

#[tokio::test]
async fn forged_cursors_are_refused() {
    let app = App::start().await;
    app.fill(3).await;
    let (_, page) = app.get("/invoices?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    for forged in forged(cursor) {
        let (status, problem) = app.get(&format!("/invoices?limit=1&cursor={forged}")).await;
        assert_eq!(status.as_u16(), 422, "{forged:.60}: {problem}");
    }
    assert_eq!(
        app.get(&format!("/invoices?limit=1&cursor={cursor}")).await.0,
        200
    );
}

#[tokio::test]
async fn forged_event_ids_are_refused_or_lead_to_what_is_there() {
    let app = App::start().await;
    for number in ["A", "B", "C"] {
        app.invoice(number, "1.00").await;
    }
    let page = async |path: &str, last: Option<&str>| {
        let call = app
            .request(Method::GET, path)
            .header("accept", "application/json");
        answer(match last {
            Some(last) => call.header("last-event-id", last),
            None => call,
        })
        .await
    };
    let (_, all) = page("/events", None).await;
    let all = all["events"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    for forged in forged(all[1]["id"].as_str().unwrap()) {
        for (status, told) in [
            page("/events", Some(&forged)).await,
            page(&format!("/events?cursor={forged}"), None).await,
        ] {
            let known = |event: &Value| all.contains(event);
            let fits = match status.as_u16() {
                200 => told["events"].as_array().unwrap().iter().all(known),
                status => [400, 410, 422].contains(&status),
            };
            assert!(fits, "{forged:.60}: {status} {told}");
        }
    }
}
