//! The control room of `local-stack demo`, in a browser: every switch is pressed, and then the verdict is read.

use std::{process::Stdio, time::Duration};

use acceptance::{Browser, Error, Result, eventually};
use local_stack::{Ports, http_client, local_stack_binary};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

struct Demo {
    child: Child,
    url: String,
    http: reqwest::Client,
    _directory: TempDir,
}

impl Demo {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports::free();
        let child = Command::new(local_stack_binary().unwrap())
            .arg("demo")
            .env("STACK_DIR", directory.path())
            .env("STACK_PORT_BASE", ports.http.to_string())
            .env_remove("KEEP")
            .env_remove("STACK_TOKENS_FILE")
            .env_remove("NATS_NODES")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let demo = Self {
            child,
            url: format!("http://127.0.0.1:{}/", ports.http + 9),
            http: http_client(Duration::from_secs(30)).unwrap(),
            _directory: directory,
        };
        demo.says("the three invoices of the demo are in the books", |state| {
            state.pointer("/verdict/paid") == Some(&json!(3))
        })
        .await;
        demo
    }

    async fn state(&self) -> Result<Value> {
        Ok(self
            .http
            .get(format!("{}state", self.url))
            .send()
            .await?
            .json()
            .await?)
    }

    async fn says(&self, what: &str, is: impl Fn(&Value) -> bool) {
        eventually(what, || async {
            let state = self.state().await?;
            if is(&state) {
                return Ok(Some(()));
            }
            Err(Error::new(state["verdict"].to_string()))
        })
        .await
        .unwrap();
    }

    async fn number(&self, pointer: &str) -> i64 {
        let state = self.state().await.unwrap();
        state.pointer(pointer).and_then(Value::as_i64).unwrap()
    }

    /// Everything runs, and nobody is cut off.
    async fn runs(&self) {
        self.says("everything runs", |state| {
            let health = state["health"].as_array().unwrap();
            let up = !state["numbers"]["open"].is_null() && !state["numbers"]["queues"].is_null();
            up && health.iter().all(|part| part[1] == "running")
        })
        .await;
    }

    /// Everything has ended, and nothing is wrong.
    async fn agrees(&self) {
        self.says("all books agree, and nothing is in flight", |state| {
            let verdict = &state["verdict"];
            let none = ["in_flight", "lost", "twice", "differ"];
            verdict["state"] == "agree" && none.iter().all(|name| verdict[name] == 0)
        })
        .await;
    }

    async fn end(mut self) {
        let pid = self.child.id().unwrap().to_string();
        let asked = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.unwrap().success());
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// The control room of a demo of its own, in a browser; nothing where there is no browser.
async fn opened() -> Option<(Browser, Demo)> {
    let Some(browser) = Browser::start().await.unwrap() else {
        eprintln!("skipped: there is no chromedriver");
        return None;
    };
    let demo = Demo::start().await;
    browser.open(&demo.url).await.unwrap();
    browser.sees("#verdict-text", "All books agree").await.unwrap();
    Some((browser, demo))
}

/// Presses a switch, and waits until it has done what it does.
async fn press(browser: &Browser, name: &str) -> String {
    press_button(browser, &format!("button[data-do={name}]")).await
}

async fn press_button(browser: &Browser, button: &str) -> String {
    // Away from under the verdict, which is always in view.
    let prepare = "document.getElementById('said').textContent = '';
        document.querySelector(arguments[0]).scrollIntoView({block: 'center'})";
    browser.run(prepare, json!([button])).await.unwrap();
    browser.click(button).await.unwrap();
    eventually(&format!("{button} is done"), || async {
        let said = browser.text("#said").await?;
        let busy = browser.text(&format!("{button}:disabled")).await?;
        Ok((!said.is_empty() && busy.is_empty()).then_some(said))
    })
    .await
    .unwrap()
}

/// Does a step of the tour, and waits until its last switch has done what it does; what that says.
async fn step(browser: &Browser, number: usize) -> String {
    press_button(
        browser,
        &format!(".tour li:nth-child({number}) button[data-steps]"),
    )
    .await
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
        .run("document.getElementById('count').value = '300'", json!([]))
        .await
        .unwrap();
    let names = switches(&browser).await;
    assert!(names.len() > 25, "{names:?}");
    for name in names.iter().filter(|name| *name != "charge-twice") {
        demo.runs().await;
        press(&browser, name).await;
        assert_eq!(
            browser.text("#said.wrong").await.unwrap(),
            "",
            "{name} did not do what it says"
        );
        let on = format!("button[data-do={name}][aria-pressed]");
        if !browser.text(&on).await.unwrap().is_empty() {
            let on = format!("button[data-do={name}][aria-pressed=true]");
            eventually(&format!("{name} is on"), || async {
                Ok((!browser.text(&on).await?.is_empty()).then_some(()))
            })
            .await
            .unwrap();
            if name != "trickle" {
                press(&browser, name).await;
            }
        }
    }
    // It has trickled through all of this.
    press(&browser, "trickle").await;
    demo.agrees().await;
    browser.sees("#lost", "0").await.unwrap();
    browser.sees("#twice", "0").await.unwrap();

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

/// Two names, and what the state shows then.
type Expected = (&'static str, &'static str, fn(&Value) -> bool);

/// One more payment than before is paid, once, and nothing is left open.
async fn one_more_is_paid(demo: &Demo, before: i64) {
    demo.agrees().await;
    demo.says("one more is paid, and charged once", |state| {
        let verdict = &state["verdict"];
        verdict["paid"] == before + 1 && verdict["charged"] == before + 1
    })
    .await;
}

fn at_least(state: &Value, pointer: &str, least: i64) -> bool {
    state
        .pointer(pointer)
        .and_then(Value::as_i64)
        .is_some_and(|n| n >= least)
}

fn is_dead(state: &Value, name: &str) -> bool {
    state["health"]
        .as_array()
        .is_some_and(|all| all.contains(&json!([name, "dead"])))
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
            "paid again, under the same names",
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
            let paid = state.pointer("/verdict/paid").and_then(Value::as_i64).unwrap();
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
