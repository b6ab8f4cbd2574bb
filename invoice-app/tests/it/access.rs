//! Who may do what.

use std::{
    num::NonZeroU32,
    sync::{Arc, RwLock},
    time::Duration,
};

use invoice_app::{
    config::{Limits, Rate},
    http::access::Access,
    tokens::{Scope, Tokens, TokensFile, add, generate},
};
use local_stack::eventually;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use crate::harness::{App, Options, limits};

#[tokio::test]
async fn every_endpoint_asks_for_its_scope_and_no_other_will_do() {
    let tokens: Vec<(Scope, String, String)> = Scope::ALL
        .into_iter()
        .map(|scope| {
            let (token, entry) = generate(scope.as_str().strip_prefix("invoices:").unwrap(), &[scope]);
            (scope, token, entry)
        })
        .collect();
    let file: String = tokens.iter().map(|(_, _, entry)| entry.as_str()).collect();
    let access = Access::Tokens(Arc::new(RwLock::new(Arc::new(Tokens::parse(&file).unwrap()))));
    let app = App::with(Options {
        access,
        ..Options::default()
    })
    .await;
    for (method, path, needs) in [
        (Method::GET, "/invoices", Scope::Read),
        (Method::HEAD, "/invoices", Scope::Read),
        (Method::GET, "/invoices/x", Scope::Read),
        (Method::GET, "/invoices/x/events", Scope::Read),
        (Method::GET, "/payment-batches/x", Scope::Read),
        (Method::GET, "/events?follow=false", Scope::Read),
        (Method::POST, "/invoices", Scope::Write),
        (Method::POST, "/invoices/import", Scope::Write),
        (Method::POST, "/invoices/x/void", Scope::Write),
        (Method::POST, "/invoices/x/pay", Scope::Pay),
        (Method::POST, "/invoices/pay", Scope::Pay),
    ] {
        let status = async |token: Option<&str>| {
            let mut request = app.request(method.clone(), path);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            request.send().await.unwrap().status().as_u16()
        };
        for refused in [
            None,
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer wrong"),
            Some("Basic eDp5"),
        ] {
            assert_eq!(status(refused).await, 401, "{method} {path} {refused:?}");
        }
        for (scope, token, _) in &tokens {
            let got = status(Some(&format!("bearer {token}"))).await;
            assert_eq!(
                got == 403,
                *scope != needs,
                "{method} {path} with {scope:?}: {got}"
            );
            assert_ne!(got, 401, "{method} {path} with {scope:?}");
        }
    }
}

#[tokio::test]
async fn a_changed_tokens_file_is_in_force_within_seconds_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.toml");
    let (first, entry) = generate("first", &[Scope::Read]);
    add(&path, &entry).unwrap();
    let file = TokensFile::open(&path).unwrap();
    let access = Access::Tokens(file.tokens());
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(file.run(stop));
    let app = App::with(Options {
        access,
        ..Options::default()
    })
    .await;
    let lets = async |token: &str| {
        app.request(Method::GET, "/invoices")
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    };
    assert!(lets(&first).await);
    let (second, entry) = generate("second", &[Scope::Read]);
    add(&path, &entry).unwrap();
    eventually("the second is let in", async || lets(&second).await)
        .await
        .unwrap();
    assert!(lets(&first).await);

    std::fs::write(&path, "not toml [").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(lets(&first).await && lets(&second).await);
    std::fs::write(&path, entry).unwrap();
    eventually("the first is not let in any more", async || !lets(&first).await)
        .await
        .unwrap();
    assert!(lets(&second).await);
}

#[test]
fn a_token_cannot_be_added_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.toml");
    let (_, entry) = generate("ci", &[Scope::Read]);
    add(&path, &entry).unwrap();
    assert!(add(&path, &entry).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), entry);
}

#[test]
fn tokens_of_one_name_are_one_caller() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.toml");
    let ((old, first), (new, second)) = (generate("ci", &[Scope::Read]), generate("ci", &[Scope::Pay]));
    add(&path, &first).unwrap();
    add(&path, &second).unwrap();
    let tokens = Tokens::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let find = |token| tokens.find(token, time::OffsetDateTime::UNIX_EPOCH).unwrap();
    assert_eq!((&*find(&old).name, &*find(&new).name), ("ci", "ci"));
    assert!(find(&old).may(Scope::Read) && !find(&old).may(Scope::Pay));
    assert!(find(&new).may(Scope::Pay));
}

#[tokio::test]
async fn caller_that_calls_too_often_is_told_when_to_go_on_and_others_are_not_held_up() {
    let (busy, first) = generate("busy", &Scope::ALL);
    let (other, second) = generate("other", &Scope::ALL);
    let tokens = Tokens::parse(&format!("{first}{second}")).unwrap();
    let rate = Rate {
        per_second: NonZeroU32::MIN,
        burst: NonZeroU32::new(3).unwrap(),
    };
    let app = App::with(Options {
        access: Access::Tokens(Arc::new(RwLock::new(Arc::new(tokens)))),
        limits: Limits {
            rate: Some(rate),
            ..limits()
        },
        ..Options::default()
    })
    .await;
    let call = async |token: &str| {
        let request = app.request(Method::GET, "/invoices/totals").bearer_auth(token);
        request.send().await.unwrap()
    };
    let mut refused = call(&busy).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["ratelimit-policy"]),
        (200, &"\"caller\";q=3;w=3".parse().unwrap())
    );
    // However slow this machine is, it is faster than one call a second at some time.
    for _ in 0..100 {
        refused = call(&busy).await;
        if refused.status().as_u16() == 429 {
            break;
        }
    }
    assert_eq!(refused.status().as_u16(), 429);
    assert!(
        refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    assert!(
        refused.headers()["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with("\"caller\";r=0;t=")
    );
    assert_eq!(call(&other).await.status().as_u16(), 200);
    for _ in 0..10 {
        assert_eq!(
            call("wrong").await.status().as_u16(),
            401,
            "a token that nobody knows is told so"
        );
    }
}
