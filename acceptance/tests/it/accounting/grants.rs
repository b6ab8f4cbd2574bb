//! What the server's configuration needs for a further reader of the outcomes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use acceptance::{Error, Result};
use local_stack::nats_configuration;

/// payment-provider may look after one consumer more.
const MADE_BY_THE_OWNER: &str = r#"
    "$JS.API.CONSUMER.INFO.PAY_OUTCOMES.accounting"
    "$JS.API.CONSUMER.CREATE.PAY_OUTCOMES.accounting"
"#;

/// Its account lets ACCOUNTING look that consumer up, pull through it, and acknowledge.
const EXPORTED: &str = r#"
    { service: "$JS.API.CONSUMER.INFO.PAY_OUTCOMES.accounting", accounts: [ACCOUNTING] }
    { service: "$JS.API.CONSUMER.MSG.NEXT.PAY_OUTCOMES.accounting", response_type: stream, accounts: [ACCOUNTING] }
    { service: "$JS.ACK.PAY_OUTCOMES.accounting.>", accounts: [ACCOUNTING] }
    { service: "$JS.ACK._.*.PAY_OUTCOMES.accounting.>", accounts: [ACCOUNTING] }
"#;

/// The account, with a user that may do exactly that.
const ACCOUNT: &str = r#"
    ACCOUNTING {
        users: [{
            nkey: KEY
            permissions {
                publish {
                    allow: [
                        "PEER.API.CONSUMER.INFO.PAY_OUTCOMES.accounting"
                        "PEER.API.CONSUMER.MSG.NEXT.PAY_OUTCOMES.accounting"
                        "$JS.ACK.PAY_OUTCOMES.accounting.>"
                        "$JS.ACK._.*.PAY_OUTCOMES.accounting.>"
                    ]
                }
                subscribe { allow: ["_INBOX_accounting.>"] }
            }
        }]
        imports: [
            {
                service: { account: PAYMENT, subject: "$JS.API.CONSUMER.INFO.PAY_OUTCOMES.accounting" }
                to: "PEER.API.CONSUMER.INFO.PAY_OUTCOMES.accounting"
            }
            {
                service: { account: PAYMENT, subject: "$JS.API.CONSUMER.MSG.NEXT.PAY_OUTCOMES.accounting" }
                to: "PEER.API.CONSUMER.MSG.NEXT.PAY_OUTCOMES.accounting"
            }
            { service: { account: PAYMENT, subject: "$JS.ACK.PAY_OUTCOMES.accounting.>" } }
            { service: { account: PAYMENT, subject: "$JS.ACK._.*.PAY_OUTCOMES.accounting.>" } }
        ]
    }
"#;

/// Among much else.
pub(super) const FORBIDDEN: &[&str] = &[
    "pay.v1.request.eur",
    "pay.v1.outcome.succeeded",
    "invoice.v1.changed",
    "PEER.API.CONSUMER.MSG.NEXT.PAY_OUTCOMES.invoice-app",
    "PEER.API.CONSUMER.MSG.NEXT.PAY_REQUESTS.payment-provider",
    "$JS.ACK.PAY_OUTCOMES.invoice-app.1.1.1.1.0",
    "$JS.API.STREAM.PURGE.PAY_OUTCOMES",
    "$JS.API.STREAM.INFO.PAY_OUTCOMES",
    "$JS.API.CONSUMER.CREATE.PAY_OUTCOMES.another",
];

/// The deployed configuration with that in it, written into `directory`.
pub(super) fn configuration(directory: &Path, public_key: &str) -> Result<PathBuf> {
    let deployed = nats_configuration();
    let mut text = fs::read_to_string(&deployed)?;
    let payment = position(&text, 0, "\n    PAYMENT {")?;
    for (list, more) in [("exports: [", EXPORTED), ("allow: [", MADE_BY_THE_OWNER)] {
        let place = position(&text, payment, list)? + list.len();
        text.insert_str(place, more);
    }
    text.insert_str(payment, &ACCOUNT.replace("KEY", public_key));
    fs::copy(
        deployed.with_file_name("cluster.conf"),
        directory.join("cluster.conf"),
    )?;
    let path = directory.join("nats-server.conf");
    fs::write(&path, text)?;
    Ok(path)
}

fn position(text: &str, from: usize, what: &str) -> Result<usize> {
    let found = text.get(from..).and_then(|rest| rest.find(what));
    found
        .map(|place| from + place)
        .ok_or_else(|| Error::new(format!("nats-server.conf has no {what}")))
}
