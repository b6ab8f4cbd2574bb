//! The document about the API, against what the API answers: every operation is called, and each answer looks like the example
//! that the document gives for it.

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::harness::{App, answer, declined, id, new, succeeded};

/// The document, and which of its operations have been seen to answer as it says.
struct Described {
    document: Value,
    seen: Vec<(String, u16)>,
}

impl Described {
    async fn read(app: &App) -> Self {
        let (status, document) = app.get("/openapi.json").await;
        assert_eq!(status, StatusCode::OK);
        Self {
            document,
            seen: Vec::new(),
        }
    }

    /// The operation of that name, with its method and path.
    fn operation(&self, name: &str) -> (String, String, &Value) {
        let paths = self.document["paths"].as_object().unwrap();
        let mut all = paths.iter().flat_map(|(path, item)| {
            let item = item.as_object().unwrap();
            item.iter()
                .map(move |(method, operation)| (method, path, operation))
        });
        let (method, path, operation) = all
            .find(|(_, _, operation)| operation["operationId"] == name)
            .unwrap_or_else(|| panic!("{name} is not described"));
        (method.to_uppercase(), path.clone(), operation)
    }

    /// Makes a request for an operation, with the one parameter that paths have.
    fn request(&self, app: &App, name: &str, id: &str) -> RequestBuilder {
        let (method, path, _) = self.operation(name);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        app.request(method, &path.replace("{id}", id))
    }

    /// Compares an answer with what is described, and gives its body.
    async fn check(&mut self, name: &str, response: Response) -> Value {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        let described = self.operation(name).2["responses"][status.to_string()].clone();
        assert!(described.is_object(), "{name}: {status} is not described: {text}");
        for header in headers.keys().map(header::HeaderName::as_str) {
            let usual = [
                "cache-control",
                "connection",
                "content-disposition",
                "content-length",
                "content-type",
                "date",
                "transfer-encoding",
                "vary",
                "x-accel-buffering",
            ];
            let described = described["headers"].as_object().unwrap();
            let known =
                usual.contains(&header) || described.keys().any(|key| key.eq_ignore_ascii_case(header));
            assert!(known, "{name}: {status} has {header}");
        }
        self.seen.push((name.to_owned(), status));
        if status == 304 {
            assert_eq!(text, "");
            return Value::Null;
        }
        let kind = headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap();
        let content = &described["content"][kind];
        assert!(content.is_object(), "{name}: {status} is not described as {kind}");
        let Ok(body) = serde_json::from_str::<Value>(&text) else {
            let example = content["example"].as_str().unwrap();
            let first = |text: &str| text.lines().next().unwrap().to_owned();
            assert_eq!(first(&text), first(example), "{name}: {status}");
            return Value::String(text);
        };
        if kind == "application/problem+json" {
            let slug = body["type"].as_str().unwrap().strip_prefix("/problems/").unwrap();
            let example = &content["examples"][slug]["value"];
            assert_eq!(
                example["title"], body["title"],
                "{name}: {status} {slug} is not described"
            );
            assert_like(example, &body, name);
        } else {
            assert_like(&content["example"], &body, name);
        }
        body
    }

    /// Whether every operation was called with success, and the rarer answers were seen, too.
    fn assert_all_seen(&self) {
        for success in [
            ("create_invoice", 201),
            ("pay_invoice", 200),
            ("pay_invoice", 202),
            ("pay_invoices", 200),
            ("list_events", 410),
        ] {
            assert!(
                self.seen.contains(&(success.0.to_owned(), success.1)),
                "{success:?}"
            );
        }
        let paths = self.document["paths"].as_object().unwrap();
        let names = paths.values().flat_map(|item| item.as_object().unwrap().values());
        for name in names.map(|operation| operation["operationId"].as_str().unwrap()) {
            assert!(
                self.seen
                    .iter()
                    .any(|(seen, status)| seen == name && *status < 300),
                "{name} was not called with success"
            );
        }
    }
}

/// Whether an answer has the fields of an example, of the same kinds. Of a list, the first of the example stands for all.
fn assert_like(example: &Value, real: &Value, place: &str) {
    match (example, real) {
        (Value::Object(example), Value::Object(real)) => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(example), names(real), "{place}");
            for (name, example) in example {
                assert_like(example, &real[name], &format!("{place}.{name}"));
            }
        }
        (Value::Array(example), Value::Array(real)) => {
            for real in real {
                let example = example
                    .iter()
                    .find(|example| example["type"] == real["type"] || example["type"].is_null());
                assert_like(example.unwrap_or(&Value::Null), real, place);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        _ => assert_eq!(
            std::mem::discriminant(example),
            std::mem::discriminant(real),
            "{place}"
        ),
    }
}

#[tokio::test]
async fn every_operation_answers_as_the_document_shows_it() {
    let app = App::start().await;
    let mut described = Described::read(&app).await;
    macro_rules! call {
        ($name:literal, $id:expr $(, $method:ident($($argument:expr),*))*) => {{
            let request = described.request(&app, $name, $id)$(.$method($($argument),*))*;
            described.check($name, request.send().await.unwrap()).await
        }};
    }
    let key = || ("idempotency-key", "k1");
    let invoice = call!(
        "create_invoice",
        "",
        json(&new("A", "12.15")),
        header(key().0, key().1)
    );
    call!(
        "create_invoice",
        "",
        json(&new("A", "12.15")),
        header(key().0, key().1)
    );
    call!(
        "create_invoice",
        "",
        json(&new("B", "12.15")),
        header(key().0, key().1)
    );
    call!("create_invoice", "", json(&new("A", "1.00")));
    call!("create_invoice", "", json(&new("C", "-1")));
    call!("create_invoice", "", body("{"));
    call!(
        "create_invoice",
        "",
        header("content-type", "text/html"),
        body("{}")
    );
    call!("create_invoice", "", body("x".repeat(2_000_000)));
    let lines = "{\"number\": \"D\", \"amount\": {\"value\": \"1.00\", \"currency\": \"EUR\"}}\n{}\n";
    call!("import_invoices", "", body(lines));
    let a = id(&invoice);
    call!("pay_invoice", &a, header("if-match", "\"other\""));
    let payment = call!("pay_invoice", &a, header("prefer", "respond-async"));
    call!("pay_invoice", &a);
    app.settle(&[declined(&id(&payment), &a)]).await;
    let payment = call!(
        "pay_invoice",
        &a,
        header("prefer", "respond-async"),
        header("idempotency-key", "k2")
    );
    app.settle(&[succeeded(&id(&payment), &a)]).await;
    call!("pay_invoice", &a, header("idempotency-key", "k2"));
    call!("void_invoice", &a);
    let batch = call!("pay_invoices", "", json(&json!({"expect": {"count": 7}})));
    assert_eq!(batch["status"], 409);
    let open = call!("pay_invoices", "", header("prefer", "respond-async"));
    call!("pay_invoices", "", json(&json!({"ids": ["x"]})));
    call!("get_payment_batch", open["batch_id"].as_str().unwrap());
    call!("get_payment_batch", "x");
    let void = app.invoice("V", "1.00").await;
    call!("void_invoice", &void);
    call!("void_invoice", "x");
    call!("get_invoice", &a, header("if-none-match", "*"));
    call!("get_invoice", &a);
    call!("get_invoice", "x");
    call!("list_invoice_events", &a);
    call!("list_invoice_events", "x");
    call!("list_invoices", "", query(&[("limit", "1")]));
    call!("list_invoices", "", query(&[("limit", "0")]));
    call!("list_invoices", "", header("accept", "text/csv"));
    call!("get_totals", "");
    call!("list_events", "", header("accept", "application/json"));
    call!("list_events", "", query(&[("follow", "false")]));
    call!(
        "list_events",
        "",
        header("accept", "application/json"),
        header("last-event-id", "A".repeat(38))
    );
    described.assert_all_seen();
}

#[tokio::test]
async fn every_operation_says_what_it_needs_and_every_header_has_a_description() {
    let app = App::start().await;
    let described = Described::read(&app).await;
    assert_eq!(described.document["openapi"], "3.1.0");
    assert_eq!(
        described.document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
    for (path, item) in described.document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let scope = operation["security"][0]["token"][0].as_str().unwrap();
            let expected = match (method.as_str(), path.ends_with("/pay")) {
                ("get", _) => "invoices:read",
                (_, true) => "invoices:pay",
                _ => "invoices:write",
            };
            assert_eq!(scope, expected, "{method} {path}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{path}: {parameter}");
                assert!(parameter["schema"]["type"].is_string(), "{path}: {parameter}");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                for (name, header) in response["headers"].as_object().unwrap() {
                    assert!(header["description"].is_string(), "{path} {status} {name}");
                }
                for content in response["content"]
                    .as_object()
                    .into_iter()
                    .flat_map(|content| content.values())
                {
                    let shown = !content["example"].is_null() || content["examples"].is_object();
                    assert!(shown, "{path} {status} has no example");
                }
            }
        }
    }
}

#[tokio::test]
async fn document_and_its_browser_need_neither_token_nor_database_and_load_nothing_from_elsewhere() {
    let app = App::closed().await;
    for (path, content_type) in [
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/", "text/html; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/docs/swagger-initializer.js", "text/javascript"),
    ] {
        let response = app.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], content_type, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(
            !policy.contains("://") && !policy.contains("'unsafe-eval'"),
            "{policy}"
        );
    }
    let page = app
        .request(Method::GET, "/docs")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(!page.contains("://"), "{page}");
    let start = app.request(Method::GET, "/docs/swagger-initializer.js");
    let (_, start) = answer(start).await;
    let start = start.as_str().unwrap();
    assert!(
        start.contains("\"/openapi.json\"") && !start.contains("petstore"),
        "{start}"
    );
    assert_eq!(app.get("/docs/nothing.js").await.0, StatusCode::NOT_FOUND);
}
