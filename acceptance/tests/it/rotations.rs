//! Secrets are replaced while callers call: nobody is turned away, nothing is lost, and no service is restarted.

use std::{fs, path::Path};

use acceptance::{
    Callers, Client, System,
    client::{Headers, NO_WAIT, WAIT},
    eventually,
};
use invoice_app::tokens::{Scope, generate};
use local_stack::{Keys, NatsOptions, NatsServer, Service, ServiceKind, Signal, StackOptions, User};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

const CALLERS: usize = 4;
/// Does not wait out what is replaced.
const WAITS_A_LITTLE: Headers<'static> = &[("prefer", "wait=1")];

#[tokio::test(flavor = "multi_thread")]
async fn api_tokens_are_replaced_without_a_failed_call() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens.toml");
    let [(old, old_entry), (new, new_entry)] = [(); 2].map(|()| generate("shop", &Scope::ALL));
    fs::write(&tokens, &old_entry).unwrap();
    let system =
        System::start_patient(|options: &mut StackOptions| options.tokens_file = Some(tokens.clone()))
            .await
            .unwrap();
    let [by_old, by_new] = [&old, &new].map(|token| system.client().unwrap().with_token(token));

    let callers = Callers::start(CALLERS, vec![by_old.clone()], NO_WAIT);
    callers.accepted(50).await.unwrap();
    replace(&tokens, &(old_entry + &new_entry));
    eventually("the new token is known", || async {
        Ok(status(&by_new).await? == 200)
    })
    .await
    .unwrap();
    callers.accepted(50).await.unwrap();
    callers.call_only(vec![by_new]);
    callers.accepted(50).await.unwrap();
    replace(&tokens, &new_entry);
    eventually("the old token is withdrawn", || async {
        Ok(status(&by_old).await? == 401)
    })
    .await
    .unwrap();
    callers.accepted(50).await.unwrap();
    all_paid(&system, callers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn database_password_is_replaced_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    fs::write(&password, "first").unwrap();
    let system = System::start_patient(|_| {}).await.unwrap();
    let stack = system.stack();
    let mut admin = PgConnection::connect(&stack.invoice_database_url())
        .await
        .unwrap();
    admin
        .execute("create role team login superuser password 'first'")
        .await
        .unwrap();
    let port = stack.postgres().port();
    let services = system.instead(|options| {
        let database = match options.kind {
            ServiceKind::InvoiceApp => "invoices",
            ServiceKind::PaymentProvider => "payments",
        };
        let settings = [
            (
                "database.url",
                format!("postgres://team@127.0.0.1:{port}/{database}"),
            ),
            ("database.password_file", password.display().to_string()),
            ("database.acquire_timeout_ms", "20000".to_owned()),
        ];
        options
            .settings
            .extend(settings.map(|(key, value)| (key.to_owned(), value)));
    });
    let services = services.await.unwrap();
    let client = Client::try_new(&services[0].url()).unwrap();
    let pids = services.each_ref().map(|service| service.program().pid());

    let callers = Callers::start(CALLERS, vec![client.clone()], NO_WAIT);
    callers.accepted(50).await.unwrap();
    // What is connected stays so; nobody may need a new connection just between the two.
    fs::write(&password, "second").unwrap();
    admin.execute("alter role team password 'second'").await.unwrap();
    callers.accepted(50).await.unwrap();
    let tally = callers.stop().await.unwrap();

    // And with connections that are all new.
    let ended = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'team'";
    admin.execute(AssertSqlSafe(ended)).await.unwrap();
    let payment = eventually("the new password is used", || async {
        let id = client.create("1.00", "EUR").await?;
        let payment = client.pay(&id, WAIT).await?;
        Ok((payment.text("/status") == "succeeded").then_some(payment))
    });
    payment.await.unwrap();
    eventually("everything that was accepted is paid", || async {
        let open = system.count_payments("requested").await?;
        let paid = system.count_invoices("paid").await?;
        Ok(open == 0 && paid > u64::try_from(tally.accepted.len())?)
    })
    .await
    .unwrap();
    system.check().await.unwrap();
    let now = services.each_ref().map(|service| service.program().pid());
    assert_eq!(pids, now, "a service was restarted");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_certificates_of_nats_are_replaced_without_a_failed_call() {
    let system = System::start_patient(|_| {}).await.unwrap();
    let stack = system.stack();
    let (nats, directory) = (stack.nats(), tempfile::tempdir().unwrap());
    let old = nats.keys().clone();
    let new = Keys::generate(&directory.path().join("keys"), &[]).unwrap();
    let callers = Callers::start(CALLERS, vec![system.client().unwrap()], WAITS_A_LITTLE);
    callers.accepted(50).await.unwrap();

    // Both authorities are trusted before the server's certificate is by the new one.
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let both = read(&old.ca_file()) + &read(&new.ca_file());
    fs::write(old.ca_file(), both).unwrap();
    fs::copy(new.server_key_file(), old.server_key_file()).unwrap();
    fs::copy(new.server_certificate_file(), old.server_certificate_file()).unwrap();
    nats.program().process().unwrap().signal(Signal::HUP);
    eventually("the server shows the new certificate", || async {
        let (ca, key) = (new.ca_file(), old.seed_file(User::Debug));
        let connected = local_stack::connect_nats(&nats.url(), &ca, &key, User::Debug).await;
        Ok(connected.is_ok().then_some(()))
    })
    .await
    .unwrap();
    callers.accepted(50).await.unwrap();

    // The new seeds are in their files before the server knows their other halves only.
    let pids = [stack.invoice_app(), stack.payment_provider()].map(|service| service.program().pid());
    for user in [User::InvoiceApp, User::PaymentProvider] {
        fs::copy(new.seed_file(user), old.seed_file(user)).unwrap();
    }
    fs::copy(new.ca_file(), old.ca_file()).unwrap();
    nats.stop().await;
    let replaced = NatsServer::start(NatsOptions {
        keys: new,
        ..nats.options().clone()
    })
    .await
    .unwrap();
    callers.accepted(50).await.unwrap();
    eventually("both services are connected with the new keys", || async {
        let services = [stack.invoice_app(), stack.payment_provider()];
        for service in services {
            if !is_connected(service).await? {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
    .unwrap();
    all_paid(&system, callers).await;
    assert_eq!(
        pids,
        [stack.invoice_app(), stack.payment_provider()].map(|service| service.program().pid())
    );
    drop(replaced);
}

/// As whole files are replaced: whoever reads it meanwhile finds the one or the other.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

async fn status(client: &Client) -> acceptance::Result<u16> {
    Ok(client.get("/invoices").await?.status)
}

async fn is_connected(service: &Service) -> acceptance::Result<bool> {
    Ok(acceptance::metric(service, "nats_client_connected", &[]).await? > 0.0)
}

/// No call failed, and everything is paid.
async fn all_paid(system: &System, callers: Callers) {
    let tally = callers.stop().await.unwrap();
    tally.expect_all_accepted().unwrap();
    let asked = u64::try_from(tally.accepted.len()).unwrap();
    system.expect_all_paid(asked, 2).await.unwrap();
}
