//! Each step of the tour shows what it promises, and ends well.

use acceptance::Browser;
use serde_json::json;

use super::demo::{Expected, at_least, is_dead, one_more_is_paid, opened, paid_again, press_by_key};

/// Does a step of the tour by the keyboard, and waits until its last switch has done what it does; what that says.
async fn step(browser: &Browser, number: usize) -> String {
    press_by_key(
        browser,
        &format!(".tour li:nth-child({number}) button[data-steps]"),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_the_tour_shows_what_it_promises() {
    let Some((browser, demo)) = opened().await else {
        return;
    };
    let steps = browser
        .run(
            "return document.querySelectorAll('button[data-steps]').length",
            json!([]),
        )
        .await
        .unwrap();
    assert_eq!(steps, 5);

    // What is to be seen in the middle of it; by each, exactly one payment is made.
    let seen: [Expected; 5] = [
        ("it is asked for", "has written it down", |_| true),
        (
            "it is pending while NATS is dead",
            "has written it down",
            |state| is_dead(state, "nats") && at_least(state, "/numbers/open", 1),
        ),
        (
            "the ledger has it while nobody is there to go on",
            "killed with -9",
            |state| is_dead(state, "payment-provider") && at_least(state, "/numbers/ledger_open", 1),
        ),
        (
            "the bank has charged, and nobody has heard of it",
            "4000.06",
            |state| at_least(state, "/numbers/ledger_open", 1),
        ),
        (
            "the database has forgotten and paid again",
            "paid again since then, under the same names",
            |_| true,
        ),
    ];
    for (number, (what, said, shown)) in (1..).zip(seen) {
        demo.runs().await;
        demo.agrees().await;
        let before = demo.number("/verdict/paid").await;
        let told = step(&browser, number).await;
        assert!(told.contains(said), "step {number} says {told:?}");
        demo.says(what, shown).await;
        if number == 5 {
            assert!(paid_again(&told) > 0, "{told:?}");
        }
        one_more_is_paid(&demo, before).await;
        browser
            .sees("#verdict.agree #verdict-text", "All books agree")
            .await
            .unwrap();
        for none in ["#lost", "#twice"] {
            assert_eq!(browser.text(none).await.unwrap(), "0", "after step {number}");
        }
    }
    assert_eq!(browser.complaints().await.unwrap(), Vec::<String>::new());
    browser.quit().await.unwrap();
    demo.end().await;
}
