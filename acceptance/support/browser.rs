//! A headless Chromium, driven over `WebDriver`: what a person sees and clicks.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Error, Result, eventually, kill_group};

/// A browser with one tab at first.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    session: String,
    downloads: TempDir,
    driver: Child,
}

impl Drop for Browser {
    /// Also the browser of a test that failed ends with it.
    fn drop(&mut self) {
        kill_group(&self.driver);
    }
}

impl Browser {
    /// Starts one; nothing where no `chromedriver` is installed.
    pub async fn start() -> Result<Option<Self>> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            // The browser it starts belongs to it.
            .process_group(0)
            .spawn();
        let driver = match driver {
            Ok(driver) => driver,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let http = local_stack::http_client(Duration::from_mins(1))?;
        let url = format!("http://127.0.0.1:{port}");
        eventually("chromedriver is up", || async {
            let up = http.get(format!("{url}/status")).send().await;
            Ok(up.is_ok().then_some(()))
        })
        .await?;
        // Without a sandbox of its own: tests run as root in containers, and the page is ours.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ];
        let downloads = tempfile::tempdir()?;
        let settings = json!({"download.default_directory": downloads.path()});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments, "prefs": settings},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made: Value = http
            .post(format!("{url}/session"))
            .json(&wanted)
            .send()
            .await?
            .json()
            .await?;
        let id = made.pointer("/value/sessionId").and_then(Value::as_str);
        let id = id.ok_or_else(|| Error::new(format!("no session: {made}")))?;
        Ok(Some(Self {
            session: format!("{url}/session/{id}"),
            http,
            downloads,
            driver,
        }))
    }

    async fn call(&self, path: &str, body: Value) -> Result<Value> {
        let url = format!("{}/{path}", self.session);
        let answer = self.http.post(url).json(&body).send().await?;
        let (status, mut document) = (answer.status(), answer.json::<Value>().await?);
        if !status.is_success() {
            return Err(Error::new(format!("{path}: {document}")));
        }
        Ok(document.get_mut("value").map(Value::take).unwrap_or_default())
    }

    /// Opens this address in the tab.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.call("url", json!({"url": url})).await.map(|_| ())
    }

    /// Runs a script in the tab; what it returns.
    pub async fn run(&self, script: &str, arguments: Value) -> Result<Value> {
        self.call("execute/sync", json!({"script": script, "args": arguments}))
            .await
    }

    /// Clicks on what a selector finds, as a person does: it must be there to be clicked on.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let element = self.find(selector).await?;
        self.call(&format!("element/{element}/click"), json!({}))
            .await
            .map(|_| ())
    }

    /// Types into what a selector finds.
    pub async fn enter(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.find(selector).await?;
        self.call(&format!("element/{element}/value"), json!({"text": text}))
            .await
            .map(|_| ())
    }

    async fn find(&self, selector: &str) -> Result<String> {
        let wanted = json!({"using": "css selector", "value": selector});
        eventually(&format!("there is {selector}"), || async {
            let found = self.call("element", wanted.clone()).await?;
            let id = found.as_object().and_then(|found| found.values().next());
            Ok(id.and_then(Value::as_str).map(str::to_owned))
        })
        .await
    }

    /// What is read at a selector; nothing where it finds nothing, or nothing that is seen.
    pub async fn text(&self, selector: &str) -> Result<String> {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        let text = self.run(script, json!([selector])).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until this can be read at a selector.
    pub async fn sees(&self, selector: &str, text: &str) -> Result<()> {
        eventually(&format!("{selector} shows {text:?}"), || async {
            let seen = self.text(selector).await?;
            if seen.contains(text) {
                Ok(Some(()))
            } else {
                Err(Error::new(format!("it shows {seen:?}")))
            }
        })
        .await
    }

    /// Waits until a file of this name was saved; what is in it.
    pub async fn downloaded(&self, name: &str) -> Result<String> {
        let file = self.downloads.path().join(name);
        eventually(&format!("{name} is saved"), || async {
            // It has another name until it is whole, but is there before that, and empty.
            Ok(std::fs::read_to_string(&file)
                .ok()
                .filter(|saved| !saved.is_empty()))
        })
        .await
    }

    /// Opens another tab and goes to it; its name.
    pub async fn new_tab(&self) -> Result<String> {
        let tab = self.call("window/new", json!({"type": "tab"})).await?;
        let name = tab
            .get("handle")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        self.go_to_tab(&name).await?;
        Ok(name)
    }

    /// Goes to a tab.
    pub async fn go_to_tab(&self, name: &str) -> Result<()> {
        self.call("window", json!({"handle": name})).await.map(|_| ())
    }

    /// What the browser complained of: errors of scripts, and what the page's policy forbids.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let logged = self.call("se/log", json!({"type": "browser"})).await?;
        let texts = logged.as_array().into_iter().flatten();
        let texts = texts.filter_map(|entry| entry.get("message")?.as_str().map(str::to_owned));
        // That a service that is away cannot be reached is no fault of the page.
        Ok(texts
            .filter(|text| !text.contains("Failed to load resource"))
            .collect())
    }

    /// Ends it.
    pub async fn quit(self) -> Result<()> {
        self.http.delete(&self.session).send().await?;
        Ok(())
    }
}
