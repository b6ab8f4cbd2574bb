// The invoices page: a thin layer over the API. Nothing is kept here but what is shown.

const $ = (id) => document.getElementById(id);
const PAGE = 100;
const SHOWN = 1000;

/** An element; strings become text, never markup. */
function el(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// Calls

class Problem extends Error {
  constructor(status, document) {
    const fields = (document.errors ?? []).map((error) => `${error.field} ${error.problem}`.trim());
    super(fields.length ? fields.join("; ") : document.detail ?? document.title ?? `status ${status}`);
    this.status = status;
  }
}

async function send(path, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem("token");
  if (token) headers.set("Authorization", `Bearer ${token}`);
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) {
    askForToken(token ? "The token is not known, or no longer." : "");
  }
  if (!response.ok) {
    throw new Problem(response.status, await response.json().catch(() => ({})));
  }
  return response;
}

const get = async (path, signal) => (await send(path, { signal })).json();

/** A POST that may safely be sent once more: the key says that it is the same call. */
async function post(path, body, type = "application/json") {
  const headers = { "Idempotency-Key": key(), Prefer: "respond-async" };
  if (body !== undefined) headers["Content-Type"] = type;
  const options = { method: "POST", headers, body };
  const response = await send(path, options).catch((error) => {
    // Nobody knows whether it arrived; with the same key it takes effect once.
    if (error instanceof Problem || body instanceof Blob) throw error;
    return send(path, options);
  });
  return response.json();
}

function key() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The token

let tokenGiven = () => {};

function askForToken(text) {
  if ($("token").open) return;
  if (text) $("token-text").textContent = `${text} It is kept until this tab is closed.`;
  sessionStorage.removeItem("token");
  $("token").showModal();
}

$("token").addEventListener("cancel", (event) => event.preventDefault());
onSubmit("token", (fields, form) => {
  sessionStorage.setItem("token", fields.token.value.trim());
  form.reset();
  $("token").close();
  tokenGiven();
  load();
});

function onSubmit(id, handle) {
  const dialog = $(id);
  const form = dialog.querySelector("form") ?? dialog;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const error = form.querySelector(".error");
    if (error) error.textContent = "";
    try {
      await handle(form.elements, form);
    } catch (problem) {
      if (error) error.textContent = problem.message;
      else say(problem.message, true);
    }
  });
}

// Messages

function say(text, bad = false, details = []) {
  const close = el("button", { type: "button", textContent: "Dismiss" });
  const message = el("div", { className: bad ? "bad" : "" }, el("p", { textContent: text }), close);
  if (details.length) message.append(el("ul", {}, ...details.map((detail) => el("li", { textContent: detail }))));
  close.addEventListener("click", () => message.remove());
  $("messages").prepend(message);
  while ($("messages").childElementCount > 5) $("messages").lastElementChild.remove();
}

function connection(text, away = false) {
  if ($("connection").textContent !== text) $("connection").textContent = text;
  $("connection").classList.toggle("away", away);
}

/** Runs what a click asked for, and tells what went wrong. */
async function attempt(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch (problem) {
    say(problem instanceof Problem ? problem.message : "The service cannot be reached. Try again in a moment.", true);
  } finally {
    button.disabled = false;
    showSelection();
  }
}

// The list

const rows = new Map();
const selected = new Set();
let cursor = null;
let loading = new AbortController();

function query() {
  const form = $("filter").elements;
  const asked = new URLSearchParams({ order: "newest", limit: PAGE });
  const wanted = { status: form.status.value, currency: form.currency.value.toUpperCase(), number_prefix: form.number.value };
  for (const [name, value] of Object.entries(wanted)) {
    if (value.trim()) asked.set(name, value.trim());
  }
  return asked;
}

async function load(more = false) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const asked = query();
  if (more && cursor) asked.set("cursor", cursor);
  try {
    const page = await get(`invoices?${asked}`, signal);
    if (!more) {
      rows.clear();
      selected.clear();
      $("rows").replaceChildren();
    }
    cursor = page.next_cursor;
    page.invoices.forEach((invoice) => show(invoice));
    showEnds();
    await showTotals(signal);
  } catch (problem) {
    if (!signal.aborted && problem.status !== 401) say(problem.message, true);
  }
}

function showEnds() {
  $("more").hidden = !cursor || rows.size >= SHOWN;
  $("empty").hidden = rows.size > 0;
  $("caption").textContent = `${counted(rows.size)} shown${cursor ? "; there are more" : ""}`;
  showSelection();
}

/** What the filter lets through, whether or not it is shown. Numbers are not added up. */
async function showTotals(signal) {
  const asked = query();
  ["order", "limit"].forEach((name) => asked.delete(name));
  $("totals").textContent = asked.has("number_prefix") ? "" : inWords((await get(`invoices/totals?${asked}`, signal)).totals);
}

const inWords = (totals) =>
  totals.map(({ count, value, currency }) => `${counted(count)}: ${value} ${currency}`).join(" · ");
const counted = (count) => `${count.toLocaleString()} ${count === 1 ? "invoice" : "invoices"}`;

function show(invoice, place = "append") {
  const { id } = invoice;
  const row = rows.get(id) ?? addRow(invoice, place);
  // An event may have told more than a list that was asked for before it.
  // Without the Z, since fractions are as long as they need to be: 1.5 is before 1.51.
  if (row.invoice.updated_at.slice(0, -1) > invoice.updated_at.slice(0, -1)) return;
  row.invoice = invoice;
  if (invoice.status !== "unpaid") selected.delete(id);
  // In place: nothing moves away under the pointer, and what has the focus keeps it.
  row.box.disabled = invoice.status !== "unpaid";
  row.box.checked = selected.has(id);
  row.status.className = `status ${invoice.status}`;
  row.status.textContent = invoice.status;
  row.reason.textContent = reason(invoice);
}

function addRow(invoice, place) {
  const { id } = invoice;
  const box = el("input", { type: "checkbox" });
  box.setAttribute("aria-label", `Select ${invoice.number}`);
  box.addEventListener("change", () => {
    if (box.checked) selected.add(id);
    else selected.delete(id);
    showSelection();
  });
  const open = el("button", { type: "button", className: "link", textContent: invoice.number });
  open.addEventListener("click", () => showInvoice(id));
  const row = { invoice, box, status: el("span"), reason: el("td") };
  rows.set(id, row);
  const cells = [box, open, money(invoice.amount), row.status].map((content) => el("td", {}, content));
  cells[2].className = "amount";
  $("rows")[place](el("tr", {}, ...cells, row.reason, el("td", {}, time(invoice.created_at))));
  return row;
}

const money = (amount) => `${amount.value} ${amount.currency}`;
const reason = (invoice) => (invoice.last_payment?.status === "declined" && (invoice.last_payment.reason ?? "declined").replaceAll("_", " ")) || "";

function time(text) {
  const shown = new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return el("time", { dateTime: text, textContent: shown });
}

function showSelection() {
  const payable = [...rows.values()].filter((row) => row.invoice.status === "unpaid");
  $("pay-selected").disabled = selected.size === 0;
  $("pay-selected").textContent = selected.size ? `Pay selected (${selected.size})` : "Pay selected";
  $("select-all").disabled = payable.length === 0;
  $("select-all").checked = payable.length > 0 && payable.every((row) => selected.has(row.invoice.id));
}

$("select-all").addEventListener("change", () => {
  for (const { invoice, box } of rows.values()) {
    if (invoice.status !== "unpaid") continue;
    if ($("select-all").checked) selected.add(invoice.id);
    else selected.delete(invoice.id);
    box.checked = $("select-all").checked;
  }
  showSelection();
});
onSubmit("filter", () => load());
$("filter").elements.status.addEventListener("change", () => load());
$("more").addEventListener("click", () => load(true));
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}

// Create, import and export

$("new").addEventListener("click", () => $("create").showModal());
onSubmit("create", async (fields, form) => {
  const amount = { value: fields.value.value.trim(), currency: fields.currency.value.trim().toUpperCase() };
  const number = fields.number.value.trim();
  const invoice = await post("invoices", JSON.stringify(number ? { number, amount } : { amount }));
  form.reset();
  $("create").close();
  say(`Created ${invoice.number}: ${money(invoice.amount)}.`);
});

$("import").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) importFile(file);
  $("file").value = "";
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
for (const end of ["dragleave", "drop"]) {
  document.addEventListener(end, () => document.body.classList.remove("dropping"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) importFile(file);
});

function importFile(file) {
  return attempt($("import"), async () => {
    const type = file.name.toLowerCase().endsWith(".csv") ? "text/csv" : "application/x-ndjson";
    const done = await post("invoices/import", file, type);
    const rejected = done.rejected.map(({ line, error }) => `line ${line}: ${error}`);
    const refused = done.rejected_total ? `; ${done.rejected_total} lines were rejected` : "";
    say(`Imported ${done.created} invoices from ${file.name}${refused}.`, done.rejected_total > 0, rejected);
    load();
  });
}

/** What the filter lets through, all of it. With fetch, since a link cannot send the token; one that breaks off saves nothing. */
$("export").addEventListener("click", () =>
  attempt($("export"), async () => {
    const asked = query();
    asked.delete("limit");
    const response = await send(`invoices?${asked}`, { headers: { Accept: "text/csv" } });
    const href = URL.createObjectURL(await response.blob());
    el("a", { href, download: "invoices.csv" }).click();
    // The browser has begun to save it by then.
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  }),
);

// Pay and void

function confirmPay(title, ...texts) {
  $("confirm-title").textContent = title;
  $("confirm-text").replaceChildren(...texts.map((text) => el("p", { textContent: text })));
  $("confirm").returnValue = "";
  $("confirm").showModal();
  return new Promise((resolve) => {
    $("confirm").addEventListener("close", () => resolve($("confirm").returnValue === "pay"), { once: true });
  });
}
onSubmit("confirm", () => $("confirm").close("pay"));

async function pay(body) {
  const batch = await post("invoices/pay", JSON.stringify(body));
  for (const { id, reason: why } of batch.skipped.slice(0, 3)) {
    say(`${rows.get(id)?.invoice.number ?? id} was not paid: it is ${why}.`, true);
  }
  if (batch.requested === 0 && batch.skipped.length === 0) say("Nothing is unpaid.");
  showBatch(batch);
}

$("pay-selected").addEventListener("click", () =>
  attempt($("pay-selected"), async () => {
    const ids = [...selected];
    const sums = ids.map((id) => rows.get(id).invoice).map((invoice) => `${invoice.number} (${money(invoice.amount)})`);
    const named = sums.slice(0, 10).join(", ") + (sums.length > 10 ? ` and ${sums.length - 10} more` : "");
    if (!(await confirmPay(`Pay ${counted(ids.length)}?`, named))) return;
    selected.clear();
    await pay({ ids });
  }),
);
$("pay-all").addEventListener("click", () =>
  attempt($("pay-all"), async () => {
    const currency = query().get("currency");
    const asked = new URLSearchParams({ status: "unpaid", ...(currency && { currency }) });
    const { totals } = await get(`invoices/totals?${asked}`);
    const count = totals.reduce((sum, total) => sum + total.count, 0);
    if (count === 0) return say("Nothing is unpaid.");
    const sums = totals.map((total) => `${total.value} ${total.currency} (${counted(total.count)})`);
    if (!(await confirmPay(`Pay ${counted(count)}?`, ...sums))) return;
    // What was shown is paid, or nothing.
    const expect = { count, totals: totals.map((total) => ({ currency: total.currency, value: total.value })) };
    await pay({ ...(currency && { currency }), expect });
  }),
);

const batches = new Map();

function showBatch(batch) {
  if (batch.requested === 0) return;
  let shown = batches.get(batch.batch_id);
  if (!shown) {
    if (batch.pending === 0) return;
    shown = { text: el("p"), bar: el("progress") };
    shown.bar.setAttribute("aria-label", "Payments settled");
    batches.set(batch.batch_id, shown);
    $("batches").append(el("div", {}, shown.text, shown.bar));
  }
  const settled = batch.paid + batch.declined;
  shown.bar.max = batch.requested;
  shown.bar.value = settled;
  const declined = batch.declined ? `, ${batch.declined} declined` : "";
  shown.text.textContent = `${batch.paid} of ${batch.requested} paid${declined}${batch.pending ? "" : ". Done."}`;
  if (batch.pending === 0 && !shown.done) {
    shown.done = true;
    const dismiss = el("button", { type: "button", textContent: "Dismiss" });
    dismiss.addEventListener("click", () => dismiss.parentElement.remove());
    shown.bar.parentElement.append(dismiss);
  }
}

// One invoice

let opened = null;

async function showInvoice(id) {
  opened = id;
  const problem = $("invoice").querySelector(".error");
  try {
    const [invoice, history] = await Promise.all([get(`invoices/${id}`), get(`invoices/${id}/events`)]);
    if (opened !== id) return;
    problem.textContent = "";
    $("invoice-title").textContent = `Invoice ${invoice.number}`;
    const facts = { Amount: money(invoice.amount), Status: invoice.status, "Last decline": reason(invoice), Id: invoice.id };
    const shown = Object.entries(facts).filter(([, value]) => value);
    $("facts").replaceChildren(
      ...shown.flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", { textContent: value })]),
    );
    $("history").replaceChildren(...history.events.map(historyItem));
    for (const button of ["pay-one", "void-one"]) $(button).disabled = invoice.status !== "unpaid";
  } catch (error) {
    problem.textContent = error.message;
  }
  if (!$("invoice").open && opened === id) $("invoice").showModal();
}

function historyItem(event) {
  const by = event.actor ? ` by ${event.actor}` : "";
  const why = event.reason ? `: ${event.reason.replaceAll("_", " ")}` : "";
  const how = event.provider ? ` (${effort(event.provider)})` : "";
  return el("li", {}, time(event.time), ` ${event.type.replace("invoice.", "")}${by}${why}${how}`);
}

/** What was unusual about a payment, as its provider tells. */
function effort({ tries, looked_up: lookedUp, deliveries, bank_ms: bankMs }) {
  const parts = [
    tries && `${tries} ${tries === 1 ? "try" : "tries"} without an answer`,
    lookedUp && "looked up at the bank",
    deliveries > 1 && `asked for ${deliveries} times`,
    bankMs >= 1000 && `the bank took ${(bankMs / 1000).toFixed(1)} s`,
  ];
  return parts.filter(Boolean).join(", ");
}

for (const [button, call] of [["pay-one", "pay"], ["void-one", "void"]]) {
  $(button).addEventListener("click", async () => {
    $(button).disabled = true;
    try {
      await post(`invoices/${opened}/${call}`);
      await showInvoice(opened);
    } catch (error) {
      $("invoice").querySelector(".error").textContent = error.message;
    }
  });
}
$("invoice").addEventListener("close", () => { opened = null; });

// Events: read with fetch, since EventSource cannot send a token, and only while the tab is seen.

let lastId = null;
let reading = null;
let stale = false;

async function listen() {
  if (reading || document.hidden) return;
  reading = new AbortController();
  const { signal } = reading;
  try {
    const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
    const response = await send("events", { headers, signal });
    connection("Up to date");
    if (stale) load();
    stale = false;
    let unread = "";
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      unread += decoder.decode(chunk.value, { stream: true });
      const blocks = unread.split("\n\n");
      unread = blocks.pop();
      blocks.forEach(hear);
    }
    connection("The connection was closed; coming back…", true);
  } catch (problem) {
    if (!signal.aborted) lost(problem);
  }
  // Another may have begun since this one was given up.
  if (signal.aborted) return;
  reading = null;
  setTimeout(listen, 2000);
}

function lost(problem) {
  if (problem.status === 410) {
    // Missed for too long to be told what: look again.
    lastId = null;
    stale = true;
  } else if (problem.status === 401) {
    connection("A token is needed", true);
  } else if (problem.status === 503) {
    connection("The database is away; what is shown may be old. Trying again…", true);
    stale = true;
  } else {
    connection(problem instanceof Problem ? problem.message : "The service cannot be reached; trying again…", true);
  }
}

function hear(block) {
  const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  if (fields.id) lastId = fields.id;
  if (!fields.data) return;
  const data = JSON.parse(fields.data);
  if (fields.event === "batch") showBatch(data);
  else if (fields.event === "invoice") heard(data.type, data.data);
}

/** Rows that are shown change in place; a new one comes first. */
function heard(type, invoice) {
  const asked = query();
  const wanted = (name) => asked.get(name) ?? "";
  const fits =
    ["", invoice.status].includes(wanted("status")) &&
    ["", invoice.amount.currency].includes(wanted("currency")) &&
    invoice.number.startsWith(wanted("number_prefix"));
  if (rows.has(invoice.id) || (type === "invoice.created" && fits && rows.size < SHOWN)) {
    show(invoice, "prepend");
    changed();
  }
  if (opened === invoice.id) reopen();
  recount();
}

const changed = soon(showEnds);
const reopen = soon(() => opened && showInvoice(opened));
// An outage is told by the stream.
const recount = soon(() => showTotals().catch(() => {}), 1000);

/** However often it is called, once in a while. */
function soon(work, after = 100) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, after);
  };
}

tokenGiven = () => {
  reading?.abort();
  reading = null;
  listen();
};
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return listen();
  // A browser opens six connections to a host: a tab nobody sees takes none.
  reading?.abort();
  reading = null;
});
load();
listen();
