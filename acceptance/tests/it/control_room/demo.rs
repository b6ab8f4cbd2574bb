//! A demo with its control room, and a browser that presses its switches.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use acceptance::{Browser, Error, Result, eventually};
use local_stack::{Ports, http_client, local_stack_binary, read_env};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// As the driver spells the key.
const ENTER: &str = "\u{e007}";

pub(super) struct Demo {
    child: Child,
    pub(super) url: String,
    pub(super) http: reqwest::Client,
    directory: TempDir,
}

impl Demo {
    pub(super) async fn start() -> Self {
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
            directory,
        };
        demo.says("the three invoices of the demo are in the books", |state| {
            state.pointer("/verdict/paid") == Some(&json!(3))
        })
        .await;
        demo
    }

    pub(super) async fn state(&self) -> Result<Value> {
        Ok(self
            .http
            .get(format!("{}state", self.url))
            .send()
            .await?
            .json()
            .await?)
    }

    /// The stack's own word on its processes and files.
    pub(super) fn env(&self) -> Result<BTreeMap<String, String>> {
        Ok(read_env(self.directory.path())?.into_iter().collect())
    }

    pub(super) async fn says(&self, what: &str, is: impl Fn(&Value) -> bool) {
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

    pub(super) async fn number(&self, pointer: &str) -> i64 {
        let state = self.state().await.unwrap();
        number_in(&state, pointer).unwrap()
    }

    /// Everything runs, and nobody is cut off.
    pub(super) async fn runs(&self) {
        self.says("everything runs", |state| {
            let health = state["health"].as_array().unwrap();
            let up = !state["numbers"]["open"].is_null() && !state["numbers"]["queues"].is_null();
            up && health.iter().all(|part| part[1] == "running")
        })
        .await;
    }

    /// Everything has ended, and nothing is wrong.
    pub(super) async fn agrees(&self) {
        self.says("all books agree, and nothing is in flight", |state| {
            let verdict = &state["verdict"];
            let none = ["in_flight", "lost", "twice", "differ"];
            verdict["state"] == "agree" && none.iter().all(|name| verdict[name] == 0)
        })
        .await;
    }

    pub(super) async fn end(mut self) {
        let pid = self.child.id().unwrap().to_string();
        let asked = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.unwrap().success());
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// The control room of a demo of its own, in a browser; nothing where there is no browser.
pub(super) async fn opened() -> Option<(Browser, Demo)> {
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
pub(super) async fn press(browser: &Browser, name: &str) -> String {
    let button = format!("button[data-do={name}]");
    prepare(browser, &button).await;
    browser.click(&button).await.unwrap();
    done(browser, &button).await
}

/// The same for those who have no mouse.
pub(super) async fn press_by_key(browser: &Browser, button: &str) -> String {
    prepare(browser, button).await;
    browser.enter(button, ENTER).await.unwrap();
    done(browser, button).await
}

async fn prepare(browser: &Browser, button: &str) {
    // Away from under the verdict, which is always in view.
    let prepare = "document.getElementById('said').textContent = '';
        document.querySelector(arguments[0]).scrollIntoView({block: 'center'})";
    browser.run(prepare, json!([button])).await.unwrap();
}

/// What the last switch says.
async fn done(browser: &Browser, button: &str) -> String {
    eventually(&format!("{button} is done"), || async {
        // In this order: what is said before the last switch has done it is not the end.
        let busy = browser.text(&format!("{button}:disabled")).await?;
        let said = browser.text("#said").await?;
        Ok((!said.is_empty() && busy.is_empty()).then_some(said))
    })
    .await
    .unwrap()
}

/// Two names, and what the state shows then.
pub(super) type Expected = (&'static str, &'static str, fn(&Value) -> bool);

/// One more payment than before is paid, once, and nothing is left open.
pub(super) async fn one_more_is_paid(demo: &Demo, before: i64) {
    demo.agrees().await;
    demo.says("one more is paid, and charged once", |state| {
        let verdict = &state["verdict"];
        verdict["paid"] == before + 1 && verdict["charged"] == before + 1
    })
    .await;
}

pub(super) fn number_in(state: &Value, pointer: &str) -> Option<i64> {
    state.pointer(pointer).and_then(Value::as_i64)
}

pub(super) fn at_least(state: &Value, pointer: &str, least: i64) -> bool {
    number_in(state, pointer).is_some_and(|n| n >= least)
}

pub(super) fn is_dead(state: &Value, name: &str) -> bool {
    state["health"]
        .as_array()
        .is_some_and(|all| all.contains(&json!([name, "dead"])))
}

/// After the database went back, by what that switch says.
pub(super) fn paid_again(said: &str) -> u64 {
    let count = said.rsplit(' ').next().unwrap().trim_end_matches('.');
    count.parse().unwrap_or_default()
}
