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

/// Presses a switch, and waits until it has done what it does.
async fn press(browser: &Browser, name: &str) -> String {
    let button = format!("button[data-do={name}]");
    // Away from under the verdict, which is always in view.
    let prepare = "document.getElementById('said').textContent = '';
        document.querySelector(arguments[0]).scrollIntoView({block: 'center'})";
    browser.run(prepare, json!([button])).await.unwrap();
    browser.click(&button).await.unwrap();
    eventually(&format!("{name} is done"), || async {
        let said = browser.text("#said").await?;
        let busy = browser.text(&format!("{button}:disabled")).await?;
        Ok((!said.is_empty() && busy.is_empty()).then_some(said))
    })
    .await
    .unwrap()
}

async fn switches(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('main button[data-do]')].map((b) => b.dataset.do)";
    let names = browser.run(script, json!([])).await.unwrap();
    serde_json::from_value(names).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_switch_breaks_what_it_says_and_the_books_agree_afterwards() {
    let Some(browser) = Browser::start().await.unwrap() else {
        eprintln!("skipped: there is no chromedriver");
        return;
    };
    let demo = Demo::start().await;
    browser.open(&demo.url).await.unwrap();
    browser.sees("#verdict-text", "All books agree").await.unwrap();
    browser
        .run("document.getElementById('count').value = '300'", json!([]))
        .await
        .unwrap();
    let names = switches(&browser).await;
    assert!(names.len() > 20, "{names:?}");
    for name in names.iter().filter(|name| *name != "charge-twice") {
        demo.says("everything runs", |state| {
            let health = state["health"].as_array().unwrap();
            let up = !state["numbers"]["open"].is_null() && !state["numbers"]["queues"].is_null();
            up && health.iter().all(|part| part[1] == "running")
        })
        .await;
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
