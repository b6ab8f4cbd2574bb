//! Invoices that come in from outside and are paid inside, while pods die.

use std::time::Duration;

use acceptance::{
    Client, Error, Result,
    client::{NO_WAIT, text},
    eventually_within,
};

use crate::kube::Cluster;

/// For the work of a pod that died to come back to another: leases and redelivery take a minute, on a busy machine longer.
const LIMIT: Duration = Duration::from_mins(5);

/// Amounts of the simulated bank that fail once, time out before, and time out after charging.
const TROUBLE: [&str; 3] = ["4000.04", "4000.05", "4000.06"];

#[tokio::test]
async fn invoices_from_outside_are_paid_once_although_pods_die() -> Result<()> {
    let cluster = crate::cluster!(Ok(()));
    let outside = cluster.outside();
    let client = Client::try_new(&outside.url)?.with_token(&outside.token);
    let mut ids = Vec::new();
    for i in 0..60 {
        let value = TROUBLE
            .get(i)
            .map_or_else(|| format!("{}.15", i + 1), |it| (*it).to_owned());
        ids.push(client.create(&value, "EUR").await?);
    }
    let batch = client.pay_these(&ids, NO_WAIT).await?.expect(202)?;
    for (namespace, name) in [("payments", "payment-provider"), ("invoices", "invoice-app")] {
        kill_one(&cluster, namespace, name);
    }
    let id = text(&batch, "/batch_id").to_owned();
    let counts = eventually_within(LIMIT, "the batch is settled", || async {
        let batch = client.batch(&id).await?;
        Ok((batch["pending"] == 0).then_some(batch))
    })
    .await?;
    assert_eq!(counts["paid"], 60, "{counts}");
    for id in &ids {
        let invoice = client.invoice(id).await?;
        assert_eq!(invoice["status"], "paid", "{invoice}");
        assert_eq!(invoice["payments"].as_array().map(Vec::len), Some(1), "{invoice}");
    }
    cluster.rolled_out("payments", "deployment/payment-provider");
    cluster.rolled_out("invoices", "deployment/invoice-app");
    Ok(())
}

#[tokio::test]
async fn declined_invoice_is_unpaid_again_and_says_why() -> Result<()> {
    let cluster = crate::cluster!(Ok(()));
    let outside = cluster.outside();
    let client = Client::try_new(&outside.url)?.with_token(&outside.token);
    let id = client.create("4000.01", "EUR").await?;
    client.pay(&id, NO_WAIT).await?.expect(202)?;
    let invoice = eventually_within(LIMIT, "the payment is declined", || async {
        let invoice = client.invoice(&id).await?;
        Ok((invoice["last_payment"]["status"] == "declined").then_some(invoice))
    })
    .await?;
    assert_eq!(invoice["status"], "unpaid", "{invoice}");
    assert_eq!(
        invoice["last_payment"]["reason"], "insufficient_funds",
        "{invoice}"
    );
    // Nothing of a test is left for somebody's `just pay`.
    client.void(&id).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn outside_without_a_token_gets_nothing() -> Result<()> {
    let cluster = crate::cluster!(Ok(()));
    let outside = cluster.outside();
    let stranger = Client::try_new(&outside.url)?;
    for answer in [
        stranger.get("/invoices").await?,
        stranger.pay_all(NO_WAIT).await?,
        stranger.clone().with_token("guessed").get("/invoices").await?,
    ] {
        assert!(answer.is_problem(401), "{answer:?}");
    }
    Ok::<_, Error>(())
}

/// At once, without a chance to finish.
fn kill_one(cluster: &Cluster, namespace: &str, name: &str) {
    let pods = cluster.pods(namespace, name);
    let victim = pods[0]["metadata"]["name"].as_str().unwrap();
    cluster.run(&[
        "delete",
        "pod",
        victim,
        "--namespace",
        namespace,
        "--grace-period=0",
        "--force",
        "--wait=false",
    ]);
}
