//! Tables as they are after a long life: filled straight with paid invoices, their payments, ledger rows and charges, which
//! agree with each other like those that were paid through the system.

use super::testbed::{self, Testbed};
use acceptance::Result;

/// UUIDs of version 7 from a number, alike in both databases: a millisecond each, from the beginning of 2026 on. `mark`
/// tells invoices from payments.
fn id(mark: &str) -> String {
    format!(
        "(lpad(to_hex(1767225600000 + n), 12, '0') || '7000' || '8{mark}' || lpad(to_hex(n), 14, '0'))::uuid"
    )
}

/// Fills a testbed's tables with `invoices` paid ones.
pub async fn paid(testbed: &Testbed, invoices: u32) -> Result<()> {
    let (invoice, payment) = (id("a"), id("b"));
    let value = "(1 + n % 99900 / 100) || '.' || lpad((n % 99900 % 100)::text, 2, '0')";
    let settled = "to_timestamp(1767225600 + n / 1000.0)";
    let invoices_and_payments = format!(
        "insert into invoices (id, number, amount_minor, currency, status, attempts, last_payment_id, created_at,
                               updated_at, paid_at)
         select {invoice}, 'S' || n, 100 + n % 99900, (array['EUR', 'GBP', 'DKK'])[1 + n % 3], 'paid', 1, {payment},
                {settled}, {settled}, {settled}
         from generate_series(1, {invoices}) n;
         insert into payments (id, invoice_id, attempt, status, provider_reference, created_at, settled_at, sends,
                               last_sent_at, next_send_at)
         select {payment}, {invoice}, 1, 'succeeded', 'sim-' || {payment}, {settled}, {settled}, 1, {settled}, {settled}
         from generate_series(1, {invoices}) n;"
    );
    let ledger_and_charges = format!(
        "insert into ledger (payment_id, invoice_id, request_hash, amount_minor, currency, invoice_number, attempt,
                             status, gateway_reference, created_at, updated_at, settled_at)
         select {payment}, {invoice}, sha256(('S' || n)::bytea), 100 + n % 99900,
                (array['EUR', 'GBP', 'DKK'])[1 + n % 3], 'S' || n, 1, 'succeeded', 'sim-' || {payment},
                {settled}, {settled}, {settled}
         from generate_series(1, {invoices}) n;
         insert into simulated_charges (key, value, currency, invoice, status, reference, created_at)
         select {payment}, {value}, (array['EUR', 'GBP', 'DKK'])[1 + n % 3], 'S' || n, 'succeeded',
                'sim-' || {payment}, {settled}
         from generate_series(1, {invoices}) n;"
    );
    testbed::execute(&testbed.stack().invoice_database_url(), &invoices_and_payments).await?;
    testbed::execute(&testbed.stack().payment_database_url(), &ledger_and_charges).await?;
    testbed.settle_databases().await
}
