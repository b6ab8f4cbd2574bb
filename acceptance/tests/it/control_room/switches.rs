//! Every switch of the page does what it says.

use std::{collections::BTreeMap, path::Path};

use acceptance::{Browser, Error, Result, eventually};
use serde_json::{Value, json};

use super::demo::{Demo, at_least, is_dead, number_in, opened, paid_again, press, press_by_key};

/// Of the large call.
const MANY: i64 = 300;
/// In NATS's store, and lost with it.
const MARK: &str = "mark";

/// What can be seen of everything, by the control room and by others.
struct Seen {
    said: String,
    state: Value,
    env: BTreeMap<String, String>,
}

impl Seen {
    async fn of(demo: &Demo, said: &str) -> Result<Self> {
        Ok(Self {
            said: said.to_owned(),
            state: demo.state().await?,
            env: demo.env()?,
        })
    }

    fn number(&self, pointer: &str) -> i64 {
        number_in(&self.state, pointer).unwrap_or_default()
    }

    fn rate(&self, name: &str) -> f64 {
        self.state["numbers"][name].as_f64().unwrap_or_default()
    }

    fn pid(&self, target: &str) -> &str {
        let name = match target {
            "nats" => "NATS_PID",
            "postgres" => "POSTGRES_PID",
            "invoice-app" => "INVOICE_APP_PID",
            "payment-provider" => "PAYMENT_PROVIDER_PID",
            other => panic!("{other} is no process"),
        };
        &self.env[name]
    }

    fn stands_still(&self, target: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid(target)));
        stat.is_ok_and(|stat| stat.contains(") T "))
    }

    fn mark(&self) -> std::path::PathBuf {
        Path::new(&self.env["NATS_STORE_DIR"]).join(MARK)
    }

    /// Whether this switch has done to what was there before what its sentence says.
    fn shows(&self, switch: &str, before: &Self) -> bool {
        let more = |name: &str| {
            let pointer = format!("/verdict/{name}");
            self.number(&pointer) - before.number(&pointer)
        };
        match switch {
            "pay-one" | "pay-failing" | "pay-slow" | "pay-timeout-before" | "pay-timeout-after" => {
                (more("paid"), more("charged")) == (1, 1)
            }
            "pay-declined" => (more("declined"), more("charged")) == (1, 0),
            "pay-many" => (more("paid"), more("charged")) == (MANY, MANY),
            "trickle" => self.rate("requested_per_s") > 5.0,
            "wipe-nats" => !before.mark().exists(),
            // Ten a second are asked for meanwhile.
            "bank-away" => self.rate("requested_per_s") > 0.0 && self.rate("charged_per_s") == 0.0,
            "bank-slow" => at_least(&self.state, "/p50_ms", 1000),
            "bank-silent" => self.number("/verdict/charged") >= self.number("/verdict/paid") + 10,
            "database-back" => paid_again(&self.said) > 0,
            _ => match switch.split_once('-') {
                Some(("kill", target)) => is_dead(&self.state, target),
                Some(("freeze", target)) => self.stands_still(target),
                Some(("cut", link)) => self.state["cut"].as_array().unwrap().contains(&json!(link)),
                _ => panic!("nothing tells what {switch} does"),
            },
        }
    }
}

/// Presses it, sees what its sentence says, and presses it again if it stays pressed.
async fn try_switch(browser: &Browser, demo: &Demo, name: &str) {
    demo.runs().await;
    if name.starts_with("pay-") {
        demo.agrees().await;
    }
    let before = Seen::of(demo, "").await.unwrap();
    std::fs::write(before.mark(), "").unwrap();
    let said = press(browser, name).await;
    let wrong = browser.text("#said.wrong").await.unwrap();
    assert_eq!(wrong, "", "{name} did not do what it says");
    eventually(&format!("{name} shows what it says"), || async {
        let now = Seen::of(demo, &said).await?;
        if now.shows(name, &before) {
            return Ok(Some(()));
        }
        Err(Error::new(format!(
            "{said}: {} {}",
            now.state["verdict"], now.state["numbers"]
        )))
    })
    .await
    .unwrap();
    if let Some(target) = name.strip_prefix("kill-") {
        eventually(&format!("{target} is another process"), || async {
            let now = Seen::of(demo, "").await?;
            Ok(now.pid(target) != before.pid(target))
        })
        .await
        .unwrap();
        browser.sees("#said", "is back.").await.unwrap();
    }
    let stays = format!("button[data-do={name}][aria-pressed]");
    if !browser.text(&stays).await.unwrap().is_empty() {
        let on = format!("button[data-do={name}][aria-pressed=true]");
        eventually(&format!("{name} is on"), || async {
            Ok(!browser.text(&on).await?.is_empty())
        })
        .await
        .unwrap();
        if name != "trickle" {
            press(browser, name).await;
        }
    }
}

async fn switches(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('main button[data-do]')].map((b) => b.dataset.do)";
    let names = browser.run(script, json!([])).await.unwrap();
    serde_json::from_value(names).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_switch_breaks_what_it_says_and_the_books_agree_afterwards() {
    let Some((browser, demo)) = opened().await else {
        return;
    };
    browser
        .run(
            "document.getElementById('count').value = arguments[0]",
            json!([MANY]),
        )
        .await
        .unwrap();
    let names = switches(&browser).await;
    assert!(names.len() > 25, "{names:?}");
    let all = || names.iter().filter(|name| *name != "charge-twice");
    // Payments that are counted come first, then the trickle, and it goes on through all that is broken.
    for name in all().filter(|name| name.starts_with("pay-")) {
        try_switch(&browser, &demo, name).await;
    }
    for name in all().filter(|name| !name.starts_with("pay-")) {
        try_switch(&browser, &demo, name).await;
    }
    press(&browser, "trickle").await;
    demo.agrees().await;
    browser.sees("#lost", "0").await.unwrap();
    browser.sees("#twice", "0").await.unwrap();

    // One button mends what stays broken.
    press(&browser, "freeze-payment-provider").await;
    browser
        .sees("#p-payment-provider .health", "stands still")
        .await
        .unwrap();
    let said = press_by_key(&browser, "#mend").await;
    assert_eq!(said, "payment-provider goes on.");
    for queue in ["requests", "outcomes"] {
        let shown = browser.text(&format!("#n-{queue}-in-flight")).await.unwrap();
        assert!(shown.parse::<u64>().is_ok(), "{queue}: {shown:?}");
    }

    // And the verdict can say otherwise.
    assert_eq!(browser.text("#test:not([hidden])").await.unwrap(), "");
    browser.open(&format!("{}#test", demo.url)).await.unwrap();
    press(&browser, "charge-twice").await;
    browser
        .sees("#verdict.differ #verdict-text", "The books differ")
        .await
        .unwrap();
    browser.sees("#twice.wrong", "1").await.unwrap();
    browser.sees("#findings", "payment").await.unwrap();
    press(&browser, "charge-twice").await;
    demo.agrees().await;
    assert_eq!(browser.complaints().await.unwrap(), Vec::<String>::new());
    browser.quit().await.unwrap();
    demo.end().await;
}
