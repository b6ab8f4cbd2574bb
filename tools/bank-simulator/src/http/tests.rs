//! Each fault does to the caller what its name says, and the record tells what it did to the money.

use std::net::Ipv4Addr;

use local_stack::http_client;
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use reconcile::{Charge, Status};

use super::*;
use crate::{Options, Record, serve};

struct Bank {
    url: String,
    http: reqwest::Client,
    directory: TempDir,
}

/// One call to pay under this key.
type Answer = std::result::Result<(StatusCode, Value), reqwest::Error>;

impl Bank {
    async fn open(mix: &str, change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options::new(directory.path().join("journal"));
        options.mix = mix.parse().unwrap();
        (options.slowest, options.latest) = (Duration::from_millis(50), Duration::from_millis(200));
        change(&mut options);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, options));
        Self {
            url,
            http: http_client(Duration::from_secs(1)).unwrap(),
            directory,
        }
    }

    async fn pay(&self, key: Uuid) -> Answer {
        let body = json!({"id": key, "value": "12.15", "currency": "EUR", "invoice": "I1"});
        let call = self.http.post(format!("{}/payments/pay", self.url));
        let answer = call
            .header("idempotency-key", key.to_string())
            .json(&body)
            .send()
            .await?;
        let status = answer.status();
        Ok((
            status,
            serde_json::from_str(&answer.text().await?).unwrap_or_default(),
        ))
    }

    async fn find(&self, key: Uuid) -> (StatusCode, Value) {
        let answer = self
            .http
            .get(format!("{}/payments/{key}", self.url))
            .send()
            .await
            .unwrap();
        let status = answer.status();
        (
            status,
            serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default(),
        )
    }

    async fn calm(&self) {
        let answer = self
            .http
            .put(format!("{}/admin/faults", self.url))
            .json(&json!({}));
        assert_eq!(answer.send().await.unwrap().status(), StatusCode::OK);
    }

    fn record(&self) -> Record {
        Record::read(&self.directory.path().join("journal")).unwrap()
    }

    fn charges(&self) -> Vec<Charge> {
        reconcile::bank_record::read(&self.directory.path().join("journal")).unwrap()
    }

    fn charged(&self, key: Uuid) -> usize {
        let charges = self.charges();
        charges
            .iter()
            .filter(|charge| charge.key == key && charge.status == Status::Succeeded)
            .count()
    }
}

/// What the first call under a key meets, whether it was charged, and that the next one is answered in peace and charges
/// nothing more.
async fn first_call(fault: Fault) -> (Answer, bool) {
    let bank = Bank::open(&format!("{}=1", fault.as_str()), |_| {}).await;
    let key = Uuid::now_v7();
    let first = bank.pay(key).await;
    let charged = bank.charged(key) == 1;
    bank.calm().await;
    let found = if charged {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    assert_eq!(bank.find(key).await.0, found, "{fault:?}");
    let (status, body) = bank.pay(key).await.unwrap();
    assert_eq!(
        (status, &body["status"]),
        (StatusCode::OK, &json!("succeeded")),
        "{fault:?}"
    );
    assert_eq!(bank.charged(key), 1, "{fault:?}");
    (first, charged)
}

#[tokio::test]
async fn errors_and_refusals_come_before_or_after_the_charge_as_they_are_called() {
    for (fault, charges) in [(Fault::ErrorBefore, false), (Fault::ErrorAfter, true)] {
        let (answer, charged) = first_call(fault).await;
        assert!(answer.unwrap().0.is_server_error());
        assert_eq!(charged, charges, "{fault:?}");
    }
    let (answer, charged) = first_call(Fault::TooMany).await;
    assert_eq!(
        (answer.unwrap().0, charged),
        (StatusCode::TOO_MANY_REQUESTS, false)
    );
}

#[tokio::test]
async fn what_the_protocol_does_not_know_comes_before_or_after_the_charge_as_it_is_called() {
    for (fault, charges) in [
        (Fault::UndocumentedBefore, false),
        (Fault::UndocumentedAfter, true),
    ] {
        let (answer, charged) = first_call(fault).await;
        assert!(UNDOCUMENTED.contains(&answer.unwrap().0));
        assert_eq!(charged, charges, "{fault:?}");
    }
    for (fault, about) in [
        (Fault::Unreadable, Value::Null),
        (Fault::OtherPayment, json!(Uuid::nil())),
    ] {
        let (answer, charged) = first_call(fault).await;
        let (status, body) = answer.unwrap();
        assert_eq!(
            (status, &body["id"], charged),
            (StatusCode::OK, &about, true),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn the_first_calls_for_an_invoice_meet_what_the_script_says_and_later_ones_what_the_mix_says() {
    let bank = Bank::open("decline=1", |_| {}).await;
    let script = json!({"I1": ["too_many", "error_before"]});
    let put = bank.http.put(format!("{}/admin/script", bank.url)).json(&script);
    assert_eq!(put.send().await.unwrap().status(), StatusCode::OK);
    let key = Uuid::now_v7();
    assert_eq!(bank.pay(key).await.unwrap().0, StatusCode::TOO_MANY_REQUESTS);
    assert!(bank.pay(key).await.unwrap().0.is_server_error());
    assert_eq!(bank.pay(key).await.unwrap().1["status"], json!("declined"));
    assert_eq!(bank.record().calls_to_pay("I1"), 3);
}

#[tokio::test]
async fn a_slow_charge_is_made_though_its_caller_has_hung_up() {
    let bank = Bank::open("slow=1", |options| {
        options.fastest = Duration::from_millis(1200);
        options.slowest = options.fastest;
    })
    .await;
    let key = Uuid::now_v7();
    assert!(bank.pay(key).await.unwrap_err().is_timeout());
    acceptance::eventually("it is charged", async || bank.charged(key) == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn resets_and_silence_come_before_or_after_the_charge_as_they_are_called() {
    for (fault, charges, silent) in [
        (Fault::ResetBefore, false, false),
        (Fault::ResetAfter, true, false),
        (Fault::TimeoutBefore, false, true),
        (Fault::TimeoutAfter, true, true),
    ] {
        let (answer, charged) = first_call(fault).await;
        let error = answer.unwrap_err();
        assert_eq!(
            (error.is_timeout(), charged),
            (silent, charges),
            "{fault:?}: {error}"
        );
    }
}

#[tokio::test]
async fn slow_and_doubled_answers_are_right_all_the_same() {
    for fault in [Fault::Slow, Fault::Twice] {
        let (answer, charged) = first_call(fault).await;
        let (status, body) = answer.unwrap();
        assert_eq!(
            (status, &body["status"], charged),
            (StatusCode::OK, &json!("succeeded"), true)
        );
    }
}

#[tokio::test]
async fn an_answer_sent_twice_is_two_answers_on_the_wire() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let bank = Bank::open("twice=1", |_| {}).await;
    let key = Uuid::now_v7();
    let body = json!({"id": key, "value": "1.00", "currency": "EUR", "invoice": "I1"}).to_string();
    let address = bank.url.trim_start_matches("http://");
    let mut line = tokio::net::TcpStream::connect(address).await.unwrap();
    let call = format!(
        "POST /payments/pay HTTP/1.1\r\nhost: bank\r\nidempotency-key: {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    line.write_all(call.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while String::from_utf8_lossy(&heard).matches("succeeded").count() < 2 {
        assert_ne!(
            line.read_buf(&mut heard).await.unwrap(),
            0,
            "closed before the second"
        );
    }
    assert_eq!(bank.charged(key), 1);
}

#[tokio::test]
async fn a_decline_stands_and_is_no_charge() {
    let bank = Bank::open("decline=1", |_| {}).await;
    let key = Uuid::now_v7();
    let (status, body) = bank.pay(key).await.unwrap();
    assert_eq!((status, &body["reason"]), (StatusCode::OK, &json!(DECLINED)));
    bank.calm().await;
    assert_eq!(bank.pay(key).await.unwrap().1["status"], json!("declined"));
    assert_eq!(bank.charged(key), 0);
}

#[tokio::test]
async fn a_late_success_is_pending_first_and_is_charged_by_itself() {
    let bank = Bank::open("late=1", |_| {}).await;
    let key = Uuid::now_v7();
    assert_eq!(bank.pay(key).await.unwrap().1["status"], json!("pending"));
    assert_eq!(bank.charges()[0].status, Status::Open);
    acceptance::eventually("the late charge is made", || async {
        Ok(bank.find(key).await.1["status"] == json!("succeeded"))
    })
    .await
    .unwrap();
    assert_eq!(bank.charged(key), 1);
    assert_eq!(bank.charges().len(), 1);
}

#[tokio::test]
async fn a_bank_that_forgets_charges_again_and_the_record_shows_it() {
    let bank = Bank::open("", |options| options.forget_after = Some(Duration::ZERO)).await;
    let key = Uuid::now_v7();
    let first = bank.pay(key).await.unwrap().1;
    assert_eq!(bank.find(key).await.0, StatusCode::NOT_FOUND);
    let second = bank.pay(key).await.unwrap().1;
    assert_ne!(first["reference"], second["reference"]);
    assert_eq!(bank.charged(key), 2);
}

#[tokio::test]
async fn calls_at_once_under_one_key_are_reported_and_charged_once() {
    let bank = Bank::open("slow=1", |options| options.slowest = Duration::from_secs(1)).await;
    let key = Uuid::now_v7();
    let (a, b) = tokio::join!(bank.pay(key), bank.pay(key));
    assert!(a.is_ok() || b.is_ok(), "{a:?} {b:?}");
    let overlaps = acceptance::eventually("the overlap is written down", || async {
        Ok(Some(bank.record().overlaps()).filter(|overlaps| !overlaps.is_empty()))
    });
    let overlaps = overlaps.await.unwrap();
    assert_eq!((overlaps.len(), overlaps[0].key, bank.charged(key)), (1, key, 1));
}

#[tokio::test]
async fn a_key_used_for_another_order_is_refused_and_reported() {
    let bank = Bank::open("", |_| {}).await;
    let key = Uuid::now_v7();
    bank.pay(key).await.unwrap();
    let body = json!({"id": key, "value": "99.00", "currency": "EUR", "invoice": "I1"});
    for (header, status) in [
        (key.to_string(), StatusCode::UNPROCESSABLE_ENTITY),
        (Uuid::nil().to_string(), StatusCode::BAD_REQUEST),
    ] {
        let call = bank.http.post(format!("{}/payments/pay", bank.url));
        let answer = call
            .header("idempotency-key", header)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
    }
    assert_eq!(bank.record().misuses().len(), 2);
    assert_eq!(bank.charged(key), 1);
}

#[tokio::test]
async fn faults_that_are_no_shares_are_refused() {
    let bank = Bank::open("decline=0.5", |_| {}).await;
    let url = format!("{}/admin/faults", bank.url);
    let put = |mix: Value| bank.http.put(&url).json(&mix).send();
    assert!(
        put(json!({"decline": 2.0}))
            .await
            .unwrap()
            .status()
            .is_client_error()
    );
    assert!(
        put(json!({"theft": 0.1}))
            .await
            .unwrap()
            .status()
            .is_client_error()
    );
    let answer: Value =
        serde_json::from_str(&bank.http.get(&url).send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer, json!({"decline": 0.5}));
}
