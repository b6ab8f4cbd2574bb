//! The control room of `local-stack demo`, in a browser: every switch is pressed, and then the verdict is read.

mod demo;
mod switches;
mod tour;

use serde_json::json;

use self::demo::{Demo, Expected, at_least, number_in, one_more_is_paid, opened, press};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_or_not_answered_is_seen_to_be_so_and_ends_well() {
    let Some((browser, demo)) = opened().await else {
        return;
    };
    // Makes the stock of invoices, while they can be made.
    let before = demo.number("/verdict/paid").await;
    press(&browser, "pay-one").await;
    one_more_is_paid(&demo, before).await;

    let seen: [Expected; 4] = [
        ("cut-invoice-app-nats", "#p-invoice-app", |state| {
            at_least(state, "/numbers/open", 1)
                && state.pointer("/numbers/queues/requests/waiting") == Some(&json!(0))
        }),
        ("cut-payment-provider-nats", "#p-payment-provider", |state| {
            at_least(state, "/numbers/open", 1) && state.pointer("/numbers/ledger_open") == Some(&json!(0))
        }),
        ("cut-payment-provider-postgres", "#p-payment-provider", |state| {
            at_least(state, "/numbers/open", 1) && state.pointer("/numbers/ledger_open") == Some(&json!(0))
        }),
        ("bank-silent", "#p-bank", |state| {
            let paid = number_in(state, "/verdict/paid").unwrap();
            at_least(state, "/verdict/charged", paid + 1)
        }),
    ];
    for (switch, place, shown) in seen {
        demo.agrees().await;
        let before = demo.number("/verdict/paid").await;
        press(&browser, switch).await;
        let health = if switch == "bank-silent" {
            "silent"
        } else {
            "cut off from"
        };
        browser.sees(&format!("{place} .health"), health).await.unwrap();
        press(&browser, "pay-one").await;
        assert_eq!(browser.text("#said.wrong").await.unwrap(), "", "{switch}");
        demo.says(&format!("what {switch} promises"), shown).await;
        press(&browser, switch).await;
        one_more_is_paid(&demo, before).await;
    }

    press(&browser, "cut-invoice-app-postgres").await;
    browser
        .sees("#p-invoice-app .health", "cut off from Postgres")
        .await
        .unwrap();
    let refused = press(&browser, "pay-one").await;
    assert!(refused.contains("503"), "{refused}");
    press(&browser, "cut-invoice-app-postgres").await;
    demo.agrees().await;
    browser.quit().await.unwrap();
    demo.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_can_press_nothing() {
    let demo = Demo::start().await;
    let post = || demo.http.post(format!("{}do/kill-nats", demo.url));
    let plain = post().send().await.unwrap();
    assert_eq!(plain.status(), 403);
    let elsewhere = post()
        .header("x-control-room", "1")
        .header("origin", "http://evil.example");
    assert_eq!(elsewhere.send().await.unwrap().status(), 403);
    let rebound = demo.http.get(&demo.url).header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), 403);
    let preflight = demo
        .http
        .request(reqwest::Method::OPTIONS, format!("{}do/kill-nats", demo.url))
        .header("origin", "http://evil.example")
        .header("access-control-request-headers", "x-control-room");
    let preflight = preflight.send().await.unwrap();
    assert!(!preflight.headers().contains_key("access-control-allow-origin"));

    let page = demo.http.get(&demo.url).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );

    let state = demo.state().await.unwrap();
    assert!(
        state["health"]
            .as_array()
            .unwrap()
            .iter()
            .all(|part| part[1] == "running")
    );
    let unknown = demo.http.post(format!("{}do/nothing", demo.url));
    let unknown = unknown.header("x-control-room", "1").send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    let outside = demo.http.get(format!("{}source/Cargo.toml", demo.url));
    assert_eq!(outside.send().await.unwrap().status(), 404);
    demo.end().await;
}
