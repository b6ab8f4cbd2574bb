//! The page at `/`, in a browser: what a person does and sees, without reloading.

use acceptance::{Browser, Client, System, client::NO_WAIT};
use local_stack::StackOptions;
use serde_json::json;

async fn browser() -> Option<Browser> {
    let browser = Browser::start().await.unwrap();
    if browser.is_none() {
        eprintln!("skipped: there is no chromedriver");
    }
    browser
}

/// The browser at the system's page.
async fn at_page(system: &System) -> Option<Browser> {
    let browser = browser().await?;
    let page = format!("{}/", system.stack().invoice_app().url());
    browser.open(&page).await.unwrap();
    Some(browser)
}

async fn ends_without_complaint(browser: Browser) {
    let complaints = browser.complaints().await.unwrap();
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn person_creates_imports_pays_and_voids_and_sees_it_happen() {
    let system = System::start().await.unwrap();
    let Some(browser) = at_page(&system).await else {
        return;
    };
    browser.sees("#connection", "Up to date").await.unwrap();
    browser.sees("#empty", "no such invoice").await.unwrap();

    browser.click("#new").await.unwrap();
    browser.enter("#create [name=number]", "good").await.unwrap();
    browser.enter("#create [name=value]", "12,15").await.unwrap();
    browser.click("#create button.main").await.unwrap();
    browser.sees("#create .error", "amount.value").await.unwrap();
    browser
        .run(
            "document.querySelector('#create [name=value]').value = ''",
            json!([]),
        )
        .await
        .unwrap();
    browser.enter("#create [name=value]", "12.15").await.unwrap();
    browser.click("#create button.main").await.unwrap();
    browser.sees("#rows", "12.15 EUR").await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("invoices.ndjson");
    let lines = concat!(
        r#"{"number": "<b>bold</b>", "amount": {"value": "4000.01", "currency": "EUR"}}"#,
        "\n",
        r#"{"number": "void me", "amount": {"value": "1.00", "currency": "EUR"}}"#,
        "\n",
        r#"{"number": "void-me", "amount": {"value": "1.00", "currency": "EUR"}}"#,
        "\n",
    );
    std::fs::write(&file, lines).unwrap();
    browser
        .run("document.getElementById('file').hidden = false", json!([]))
        .await
        .unwrap();
    browser.enter("#file", file.to_str().unwrap()).await.unwrap();
    browser.sees("#messages", "Imported 2 invoices").await.unwrap();
    browser.sees("#messages", "line 2").await.unwrap();
    // A name is text, whatever it looks like.
    browser.sees("#rows", "<b>bold</b>").await.unwrap();

    browser.click("#rows tr:nth-child(1) .link").await.unwrap();
    browser.sees("#invoice", "void-me").await.unwrap();
    browser.click("#void-one").await.unwrap();
    browser.sees("#history", "voided").await.unwrap();
    browser.click("#invoice [data-close]").await.unwrap();
    browser.sees("#rows .status.void", "void").await.unwrap();

    browser.sees("#totals", "3 invoices: 4013.16 EUR").await.unwrap();
    browser.click("#pay-all").await.unwrap();
    browser
        .sees("#confirm[open]", "4012.16 EUR (2 invoices)")
        .await
        .unwrap();
    // Another one comes between the question and the answer: nothing is paid that was not shown.
    let client = system.client().unwrap();
    let late = client.create("5.00", "GBP").await.unwrap();
    browser.click("#confirm button.main").await.unwrap();
    browser.sees("#messages .bad", "nothing was paid").await.unwrap();
    client.void(&late).await.unwrap();
    assert_eq!(system.count_payments("requested").await.unwrap(), 0);
    browser.click("#pay-all").await.unwrap();
    browser.sees("#confirm[open]", "4012.16 EUR").await.unwrap();
    browser.click("#confirm button.main").await.unwrap();
    browser.sees("#rows tr:nth-child(4)", "paid").await.unwrap();
    browser
        .sees("#rows tr:nth-child(3)", "insufficient funds")
        .await
        .unwrap();
    browser
        .sees("#batches", "1 of 2 paid, 1 declined. Done.")
        .await
        .unwrap();
    // The first value was refused, which the browser logs; nothing else went wrong.
    ends_without_complaint(browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_is_seen_in_every_tab_and_after_an_outage() {
    let system = System::start().await.unwrap();
    let Some(browser) = at_page(&system).await else {
        return;
    };
    let client = system.client().unwrap();
    browser.sees("#connection", "Up to date").await.unwrap();
    browser.new_tab().await.unwrap();
    browser
        .open(&format!("{}/", system.stack().invoice_app().url()))
        .await
        .unwrap();
    browser.sees("#connection", "Up to date").await.unwrap();
    let first = client.create("1.00", "EUR").await.unwrap();
    browser.sees("#rows", "unpaid").await.unwrap();

    system.stack().invoice_app().kill9().await;
    browser.sees("#connection.away", "trying again").await.unwrap();
    system.stack().invoice_app().start_again().await.unwrap();
    let restarted = Client::try_new(&system.stack().invoice_app().url()).unwrap();
    restarted.pay(&first, NO_WAIT).await.unwrap();
    browser.sees("#rows", "paid").await.unwrap();
    browser.sees("#connection", "Up to date").await.unwrap();
    ends_without_complaint(browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_asked_for_once_in_a_tab_and_again_when_it_is_not_known() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens.toml");
    let (token, entry) = invoice_app::tokens::generate("person", &invoice_app::tokens::Scope::ALL);
    std::fs::write(&tokens, entry).unwrap();
    let with_tokens = |options: &mut StackOptions| options.tokens_file = Some(tokens.clone());
    let system = System::start_with(with_tokens).await.unwrap();
    let client = system.client().unwrap().with_token(&token);
    client.create("7.00", "EUR").await.unwrap();
    let Some(browser) = at_page(&system).await else {
        return;
    };
    browser.enter("#token [name=token]", "wrong").await.unwrap();
    browser.click("#token button").await.unwrap();
    browser.sees("#token-text", "not known").await.unwrap();
    browser.enter("#token [name=token]", &token).await.unwrap();
    browser.click("#token button").await.unwrap();
    browser.sees("#rows", "7.00 EUR").await.unwrap();
    browser
        .open(&format!("{}/", system.stack().invoice_app().url()))
        .await
        .unwrap();
    browser.sees("#rows", "7.00 EUR").await.unwrap();
    browser.sees("#connection", "Up to date").await.unwrap();

    // Of what is filtered, all, and with the token.
    client.create("9.00", "GBP").await.unwrap();
    browser.enter("#filter [name=currency]", "gbp").await.unwrap();
    browser.click("#export").await.unwrap();
    let saved = browser.downloaded("invoices.csv").await.unwrap();
    let lines: Vec<&str> = saved.lines().collect();
    assert_eq!(lines.len(), 2, "{saved}");
    assert!(lines[0].starts_with("number,value,currency,"), "{saved}");
    assert!(lines[1].contains(",9.00,GBP,unpaid,"), "{saved}");
    browser.quit().await.unwrap();
}
