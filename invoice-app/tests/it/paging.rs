//! Lists: filtered, in pages, each invoice once while others come and change.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{App, declined, numbers, read, succeeded};

#[tokio::test]
async fn pages_show_each_invoice_once_while_others_come_and_change() {
    let app = App::start().await;
    app.fill(250).await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (_, page) = app.get(&format!("/invoices?limit=60{cursor}")).await;
        seen.extend(numbers(&page));
        pages += 1;
        app.invoice(&format!("new-{pages}"), "1.00").await;
        if pages == 2 {
            app.post_async("/invoices/pay").await;
        }
        match &page["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    let old: Vec<_> = seen.iter().filter(|number| number.starts_with('N')).collect();
    assert_eq!(
        old,
        (1..=250)
            .map(|n| format!("N{n}"))
            .collect::<Vec<_>>()
            .iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
}

#[tokio::test]
async fn the_last_page_has_no_cursor_even_when_it_is_full() {
    let app = App::start().await;
    app.fill(4).await;
    let (_, first) = app.get("/invoices?limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    assert!(
        cursor
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    let (_, second) = app.get(&format!("/invoices?limit=2&cursor={cursor}")).await;
    assert_eq!(
        (numbers(&second), &second["next_cursor"]),
        (vec!["N3".to_owned(), "N4".to_owned()], &Value::Null)
    );
}

#[tokio::test]
async fn filters_narrow_alone_and_together() {
    let app = App::start().await;
    let create = async |number: &str, currency: &str| {
        let body = json!({"number": number, "amount": {"value": "1", "currency": currency}});
        crate::harness::id(&app.post("/invoices", body).await.1)
    };
    create("unpaid", "EUR").await;
    create("unpaid-yen", "JPY").await;
    let (pending, paid, void) = (
        create("pending", "EUR").await,
        create("paid", "JPY").await,
        create("void", "EUR").await,
    );
    app.pay(&pending).await;
    let payment = app.pay(&paid).await;
    app.settle(&[succeeded(&payment, &paid)]).await;
    app.post_async(&format!("/invoices/{void}/void")).await;
    for (query, expected) in [
        ("", &["unpaid", "unpaid-yen", "pending", "paid", "void"][..]),
        ("?status=unpaid", &["unpaid", "unpaid-yen"][..]),
        ("?status=pending", &["pending"][..]),
        ("?status=paid", &["paid"][..]),
        ("?status=void", &["void"][..]),
        ("?currency=JPY", &["unpaid-yen", "paid"][..]),
        ("?currency=JPY&status=unpaid", &["unpaid-yen"][..]),
        ("?number=paid", &["paid"][..]),
        ("?number=paid&status=unpaid", &[][..]),
        ("?number=paid&currency=EUR", &[][..]),
        ("?number=nobody%00", &[][..]),
    ] {
        let (_, page) = app.get(&format!("/invoices{query}")).await;
        assert_eq!(numbers(&page), expected, "{query}");
    }
}

#[tokio::test]
async fn a_list_is_narrowed_sorted_and_linked() {
    let app = App::start().await;
    let mut ids = Vec::new();
    for number in ["A-1", "A-2", "B_1", "B%1"] {
        ids.push(app.invoice(number, "1.00").await);
    }
    let payment = app.pay(&ids[1]).await;
    app.settle(&[declined(&payment, &ids[1])]).await;
    let list = async |query: &str| -> Vec<String> {
        let (status, page) = app.get(&format!("/invoices?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        numbers(&page)
    };
    assert_eq!(list("number_prefix=A-").await, ["A-1", "A-2"]);
    assert_eq!(list("number_prefix=B%25").await, ["B%1"], "no pattern");
    assert_eq!(list("order=newest").await, ["B%1", "B_1", "A-2", "A-1"]);
    assert_eq!(list("order=newest&status=unpaid&limit=1").await, ["B%1"]);
    assert_eq!(list("declined=true").await, ["A-2"]);
    assert_eq!(list("declined=false&order=newest").await, ["B%1", "B_1", "A-1"]);
    assert_eq!(list("number=A-2&declined=true").await, ["A-2"]);
    assert_eq!(list("created_after=2020-01-01T00:00:00Z").await.len(), 4);
    assert_eq!(list("created_before=2020-01-01T00:00:00Z").await.len(), 0);

    let (mut seen, mut path) = (Vec::new(), "/invoices?order=newest&limit=3".to_owned());
    loop {
        let response = app.request(Method::GET, &path).send().await.unwrap();
        let link = response
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        let (_, page) = read(response).await;
        seen.extend(numbers(&page));
        let Some(link) = link else { break };
        let target = link.strip_suffix("; rel=\"next\"").unwrap();
        path = target.trim_start_matches('<').trim_end_matches('>').to_owned();
        assert!(path.ends_with(page["next_cursor"].as_str().unwrap()), "{path}");
    }
    assert_eq!(seen, ["B%1", "B_1", "A-2", "A-1"]);
}
