//! Every problem that a call can have: what it is answered with, and what its page says.

/// What one page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemPage {
    /// The problem's lasting name: what clients may have to tell apart.
    pub slug: &'static str,
    /// With what the problem is answered.
    pub status: u16,
    /// In a few words.
    pub title: &'static str,
    pub what: &'static str,
    /// How it comes about.
    pub why: &'static str,
    /// What to do about it.
    pub next: &'static str,
    /// The next command; `URL` is the service's address.
    pub command: &'static str,
}

/// Every problem's slug.
pub fn slugs() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|page| page.slug)
}

/// The page of this problem.
#[must_use]
pub fn page(slug: &str) -> Option<ProblemPage> {
    PAGES.iter().find(|page| page.slug == slug).copied()
}

/// Every problem's page.
pub(super) static PAGES: &[ProblemPage] = &[
    ProblemPage {
        slug: "body-too-large",
        status: 413,
        title: "The body is too large",
        what: "The body is larger than this call takes, and was not read to its end.",
        why: "A plain call takes 1 MiB, a pay call that names ids 8 MiB, and an import what `http.import_limit_mib` says.",
        next: "Send it in parts, each with an Idempotency-Key of its own.",
        command: "split -l 100000 invoices.ndjson part- && for part in part-*; do curl -H \"authorization: Bearer $TOKEN\" -T $part -X POST URL/invoices/import; done",
    },
    ProblemPage {
        slug: "database-unavailable",
        status: 503,
        title: "The database is not available",
        what: "The service runs, but its database did not answer.",
        why: "Postgres is away, being switched over, or out of connections, or another call has held what this one needs for too long. Nothing was done, or it will be visible once it is back.",
        next: "Wait for what Retry-After says and send the call again, with the same Idempotency-Key.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -X POST -H 'idempotency-key: KEY' URL/invoices/ID/pay",
    },
    ProblemPage {
        slug: "events-forgotten",
        status: 410,
        title: "The events are no longer kept",
        what: "The place to go on from is not in what is kept: it is too old, or of another history.",
        why: "Changes are kept for seven days, and a database that was restored or taken over by a standby begins anew.",
        next: "Read the list of invoices once, and then follow from now on.",
        command: "curl -N -H \"authorization: Bearer $TOKEN\" URL/events",
    },
    ProblemPage {
        slug: "forbidden",
        status: 403,
        title: "The token does not allow this",
        what: "The token is known, but lacks a scope.",
        why: "WWW-Authenticate names the scope this call needs.",
        next: "Ask whoever runs the service for a token with that scope.",
        command: "invoice-app token --name NAME --scopes invoices:read,invoices:write,invoices:pay --file tokens.toml",
    },
    ProblemPage {
        slug: "idempotency-key-in-use",
        status: 409,
        title: "The call is still running",
        what: "A call with this Idempotency-Key has not ended.",
        why: "It was sent twice at nearly the same time, or sent again before the first answer.",
        next: "Send it again in a moment, unchanged: the answer will be the first one's.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -X POST -H 'idempotency-key: KEY' URL/invoices/ID/pay",
    },
    ProblemPage {
        slug: "idempotency-key-reused",
        status: 422,
        title: "The Idempotency-Key belongs to another call",
        what: "A call with this key was made before, with another path or body.",
        why: "A key names one call of one caller, for 24 hours.",
        next: "Use a new key for a new call.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -X POST -H \"idempotency-key: $(uuidgen)\" URL/invoices/ID/pay",
    },
    ProblemPage {
        slug: "internal",
        status: 500,
        title: "Something went wrong on our side",
        what: "The call failed in a way that is not the caller's fault.",
        why: "It was logged, with the Request-Id of this answer.",
        next: "Tell whoever runs the service the Request-Id. Look before sending the call again.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" 'URL/invoices?limit=1'",
    },
    ProblemPage {
        slug: "invalid-request",
        status: 422,
        title: "The request is not valid",
        what: "The request can be read, but something in it is not valid.",
        why: "`errors` in the answer names each field and what is wrong with it. What is not understood is refused, in queries as in bodies.",
        next: "Correct the fields named.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' -d '{\"amount\": {\"value\": \"12.15\", \"currency\": \"EUR\"}}' URL/invoices",
    },
    ProblemPage {
        slug: "invoice-not-found",
        status: 404,
        title: "No such invoice",
        what: "No invoice has this id.",
        why: "Ids are UUIDs, as answered when the invoice was created. A number is not an id.",
        next: "Look for the invoice by its number.",
        command: "curl -H \"authorization: Bearer $TOKEN\" 'URL/invoices?number=I1'",
    },
    ProblemPage {
        slug: "invoice-not-payable",
        status: 409,
        title: "The invoice cannot be paid",
        what: "The invoice is pending, paid or void.",
        why: "Only an unpaid invoice can be paid. One whose payment is under way is not paid a second time.",
        next: "Look how it stands, and what happened to it.",
        command: "curl -H \"authorization: Bearer $TOKEN\" URL/invoices/ID/events",
    },
    ProblemPage {
        slug: "invoice-not-voidable",
        status: 409,
        title: "The invoice cannot be voided",
        what: "The invoice is pending or paid.",
        why: "Only an unpaid invoice can be voided.",
        next: "Look how it stands, and what happened to it.",
        command: "curl -H \"authorization: Bearer $TOKEN\" URL/invoices/ID/events",
    },
    ProblemPage {
        slug: "malformed-request",
        status: 400,
        title: "The request cannot be read",
        what: "The request is not well-formed.",
        why: "Its body is not JSON or not UTF-8, broke off, or a header or the path cannot be read; `detail` says which.",
        next: "Correct it, and send it again.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' -d '{\"amount\": {\"value\": \"12.15\", \"currency\": \"EUR\"}}' URL/invoices",
    },
    ProblemPage {
        slug: "method-not-allowed",
        status: 405,
        title: "Method not allowed",
        what: "There is something at this path, but not for this method.",
        why: "The Allow header names the methods it has.",
        next: "Use one of those.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" URL/invoices",
    },
    ProblemPage {
        slug: "not-found",
        status: 404,
        title: "Not found",
        what: "There is nothing at this path.",
        why: "It is misspelt, or of another version.",
        next: "See the calls there are in the README, and these pages at /problems.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" URL/invoices",
    },
    ProblemPage {
        slug: "number-taken",
        status: 409,
        title: "The number is taken",
        what: "Another invoice has this number.",
        why: "Numbers are unique, also among void invoices.",
        next: "Look at the invoice that has it; leave the number out to get the next free one.",
        command: "curl -H \"authorization: Bearer $TOKEN\" 'URL/invoices?number=I1'",
    },
    ProblemPage {
        slug: "payment-batch-not-found",
        status: 404,
        title: "No such payment batch",
        what: "No payment batch has this id.",
        why: "Ids are UUIDs, as answered by POST /invoices/pay.",
        next: "Use the batch_id of that answer.",
        command: "curl -H \"authorization: Bearer $TOKEN\" URL/payment-batches/ID",
    },
    ProblemPage {
        slug: "precondition-failed",
        status: 412,
        title: "The invoice has changed",
        what: "The invoice is not as If-Match says, and nothing was done.",
        why: "Somebody else paid, voided or changed it after it was read.",
        next: "Read it again, decide again, and send its new ETag.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" URL/invoices/ID",
    },
    ProblemPage {
        slug: "request-timeout",
        status: 408,
        title: "The body came too slowly",
        what: "The body paused, or took in all, longer than is waited for, and the connection was closed.",
        why: "The client or the way to here is slow or stuck. Nothing was done.",
        next: "Send the call again, with the same Idempotency-Key.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -X POST -T invoices.ndjson -H 'idempotency-key: KEY' URL/invoices/import",
    },
    ProblemPage {
        slug: "schema-missing",
        status: 503,
        title: "The database has no schema",
        what: "The database was there before, but its tables are gone or older than the service needs.",
        why: "It was replaced, or restored from a backup.",
        next: "Whoever runs the service brings its schema up to date; then wait for what Retry-After says and send the call again.",
        command: "invoice-app migrate",
    },
    ProblemPage {
        slug: "starting",
        status: 503,
        title: "The service is starting",
        what: "The service waits for its database's schema.",
        why: "It has just been started, or the migration has not run.",
        next: "Wait for what Retry-After says and send the call again.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" 'URL/invoices?limit=1'",
    },
    ProblemPage {
        slug: "stopping",
        status: 503,
        title: "The service is stopping",
        what: "The process ended while the body was still on its way.",
        why: "It is replaced by another one. An import is done as a whole, and nothing of this one was.",
        next: "Send the call again, with the same Idempotency-Key.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -H 'idempotency-key: KEY' -T invoices.ndjson -X POST URL/invoices/import",
    },
    ProblemPage {
        slug: "timed-out",
        status: 503,
        title: "The call took too long",
        what: "The call was given up.",
        why: "The database is slow, or what the call needs was held by another one.",
        next: "What it did so far may or may not stay: look before sending it again, or send it with the same Idempotency-Key.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -X POST -H 'idempotency-key: KEY' URL/invoices/ID/pay",
    },
    ProblemPage {
        slug: "too-many-requests",
        status: 429,
        title: "Too many requests",
        what: "Too many calls are being handled at once, or this token sends more than it may (then the RateLimit headers say how many).",
        why: "Limits keep one busy caller from stopping the others.",
        next: "Wait for what Retry-After says; pay many invoices by one call instead of many calls.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -X POST -H 'content-type: application/json' -d '{\"currency\": \"EUR\"}' URL/invoices/pay",
    },
    ProblemPage {
        slug: "totals-changed",
        status: 409,
        title: "The totals have changed",
        what: "The invoices are no longer what `expect` says, and nothing was paid.",
        why: "Some were created, paid or voided after the totals were read.",
        next: "Read the totals again, decide again, and send what they say now.",
        command: "curl -H \"authorization: Bearer $TOKEN\" 'URL/invoices/totals?status=unpaid'",
    },
    ProblemPage {
        slug: "unauthorized",
        status: 401,
        title: "A token is needed",
        what: "No token was sent, or none that is known.",
        why: "Tokens are sent as `Authorization: Bearer`; one may have expired or been replaced.",
        next: "Send a token; whoever runs the service makes one.",
        command: "invoice-app token --name NAME --scopes invoices:read,invoices:write,invoices:pay --file tokens.toml",
    },
    ProblemPage {
        slug: "unsupported-media-type",
        status: 415,
        title: "The body has another type",
        what: "The Content-Type or Content-Encoding is not one this call takes.",
        why: "Calls take application/json; imports take application/x-ndjson. Bodies are read as they are, not compressed.",
        next: "Send the body as that type, without Content-Encoding.",
        command: "curl -i -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' -d '{\"amount\": {\"value\": \"12.15\", \"currency\": \"EUR\"}}' URL/invoices",
    },
];
