// The control room: shows the state as it comes, and presses switches. Nothing is worked out here but how it looks.

const $ = (id) => document.getElementById(id);
const HEALTH = { running: "", frozen: "stands still", dead: "dead" };
const TITLES = { nats: "NATS", postgres: "Postgres" };
const VERDICTS = {
  agree: "All books agree.",
  late: "Nothing is wrong, but some payments are late.",
  differ: "The books differ.",
  unknown: "Cannot look at the books now.",
};
/** Between two switches of one step: long enough for the first to be under way. */
const BETWEEN_MS = 700;

function put(id, text) {
  const element = $(id);
  // Only what changes: a screen reader is told of each change, and a selection stays.
  if (element.textContent !== text) element.textContent = text;
}

const number = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en"));
const rate = (n) => (n >= 10 ? number(Math.round(n)) : number(n));

// Switches

async function press(name) {
  const wish = {};
  if (name === "pay-many") wish.count = Math.min(Math.max(parseInt($("count").value, 10) || 1, 1), 100000);
  const response = await fetch(`do/${name}`, {
    method: "POST",
    headers: { "X-Control-Room": "1", "Content-Type": "application/json" },
    body: JSON.stringify(wish),
  });
  const answer = await response.json().catch(() => ({ text: `status ${response.status}` }));
  say(answer.text, !response.ok);
}

function say(text, wrong = false) {
  $("said").classList.toggle("wrong", wrong);
  // The services' names stay as they are.
  const begin = /^(invoice-app|payment-provider)/.test(text) ? text.charAt(0) : text.charAt(0).toUpperCase();
  put("said", begin + text.slice(1) + (text.endsWith(".") ? "" : "."));
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-do], button[data-steps]");
  if (!button || button.disabled) return;
  const steps = (button.dataset.do ?? button.dataset.steps).split(" ");
  button.disabled = true;
  try {
    for (const [place, step] of steps.entries()) {
      if (place > 0) await new Promise((done) => setTimeout(done, BETWEEN_MS));
      await press(step);
    }
  } catch {
    say("The control room cannot be reached: it ends with the demo.", true);
  } finally {
    button.disabled = false;
    button.focus({ preventScroll: true });
  }
});

$("mend").addEventListener("click", () => {
  const broken = document.querySelectorAll(".faults [aria-pressed=true]");
  for (const button of broken) button.click();
  if (!broken.length) say("Nothing is broken that does not come back by itself");
});

function switches(state) {
  const on = {
    trickle: state.switches.trickle,
    "bank-away": state.switches.bank_away,
    "bank-slow": state.switches.bank_slow,
    "bank-silent": state.switches.bank_silent,
    "charge-twice": state.switches.charge_twice,
  };
  for (const [target, health] of state.health) on[`freeze-${target}`] = health === "frozen";
  for (const { dataset } of document.querySelectorAll("[data-do^=cut-]")) on[dataset.do] = state.cut.includes(dataset.do.slice(4));
  for (const [name, pressed] of Object.entries(on)) {
    document.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", String(pressed));
  }
}

// What is shown

const former = {};

/** Adds to what was said of a switch that what it broke is back. */
function back(state) {
  for (const [name, health] of state.health) {
    if (health === "running" && former[name] && former[name] !== health) {
      put("said", `${$("said").textContent} ${TITLES[name] ?? name} is back.`.trim());
    }
    former[name] = health;
  }
}

function verdict(state) {
  const books = state.verdict;
  $("verdict").className = books.state || "unknown";
  put("verdict-text", books.state ? VERDICTS[books.state] : "Looking…");
  if (books.looked_at) {
    for (const [id, n] of [["paid", books.paid], ["charged", books.charged], ["in-flight", books.in_flight]]) put(id, number(n));
    for (const name of ["lost", "twice"]) {
      put(name, number(books[name]));
      $(name).classList.toggle("wrong", books[name] > 0);
    }
    const late = books.late ? ` ${number(books.late)} late.` : "";
    const why = books.cannot_look ? ` Since then: ${books.cannot_look}.` : "";
    const bank = state.switches.bank_is_known ? "" : " The bank is another one: the ledger is believed.";
    put("looked", `Checked at ${books.looked_at} UTC against the bank's own record, in ${number(books.took_ms)} ms.${late}${why}${bank}`);
  }
  $("findings").hidden = !books.findings?.length;
  const list = $("findings").querySelector("ul");
  const text = (books.findings ?? []).join("\n");
  if (list.dataset.text !== text) {
    list.dataset.text = text;
    list.replaceChildren(...(books.findings ?? []).map((finding) => Object.assign(document.createElement("li"), { textContent: finding })));
    if (books.state === "differ") $("findings").open = true;
  }
}

function healthOf(id, health, text = HEALTH[health]) {
  const place = $(id);
  place.classList.toggle("frozen", health === "frozen");
  place.classList.toggle("dead", health === "dead");
  const shown = place.querySelector(".health");
  if (shown.textContent !== text) shown.textContent = text;
}

function serviceOf(name, health, cut) {
  const fromNats = cut.includes(`${name}-nats`);
  const fromPostgres = cut.includes(`${name}-postgres`);
  const from = [fromNats && "NATS", fromPostgres && "Postgres"].filter(Boolean).join(" and ");
  healthOf(`p-${name}`, health, HEALTH[health] || (from && `cut off from ${from}`));
  $(`p-${name}`).classList.toggle("cut-nats", fromNats);
  $(`p-${name}`).classList.toggle("cut-postgres", fromPostgres);
}

function moves(id, perSecond) {
  $(id).classList.toggle("moves", perSecond > 0);
  $(id).classList.toggle("fast", perSecond > 200);
}

function flow(state) {
  const n = state.numbers;
  const healths = Object.fromEntries(state.health);
  for (const name of ["nats", "postgres"]) healthOf(`p-${name}`, healths[name]);
  healthOf("p-ledger", healths.postgres);
  for (const name of ["invoice-app", "payment-provider"]) serviceOf(name, healths[name], state.cut);
  const { bank_away: away, bank_silent: silent, bank_slow: slow } = state.switches;
  healthOf("p-bank", away ? "dead" : "running", away ? "away" : silent ? "silent" : slow ? "slow" : "");
  $("p-bank").classList.toggle("silent", silent);
  put("n-requested", rate(n.requested_per_s));
  put("n-charged", rate(n.charged_per_s));
  put("n-settled", rate(n.settled_per_s));
  put("n-open", number(n.open));
  put("n-unpaid", number(n.unpaid));
  put("n-ledger", number(n.ledger_open));
  for (const name of ["requests", "outcomes"]) {
    put(`n-${name}`, number(n.queues?.[name].waiting));
    put(`n-${name}-in-flight`, number(n.queues?.[name].in_flight));
  }
  moves("a-ask", n.requested_per_s);
  const sends = healths.nats === "running" && !state.cut.includes("invoice-app-nats");
  moves("a-request", sends ? n.charged_per_s + n.requested_per_s : 0);
  moves("a-bank", n.charged_per_s);
  moves("a-outcome", n.settled_per_s);
}

function chart(state) {
  const points = state.numbers.history;
  const most = Math.max(1, ...points);
  const first = 300 - points.length;
  const line = points.map((n, i) => `${i ? "L" : "M"}${first + i} ${(58 - (n / most) * 54).toFixed(1)}`).join("");
  $("spark").querySelector("path").setAttribute("d", line);
  put("most", points.length ? number(Math.max(...points)) : "–");
  put("p50", state.p50_ms === null ? "–" : `${number(state.p50_ms)} ms`);
  put("p99", state.p99_ms === null ? "–" : `${number(state.p99_ms)} ms`);
}

function many(state) {
  const call = state.many;
  $("many").hidden = !call;
  if (!call) return put("many-text", "");
  $("many").value = call.requested ? call.done / call.requested : 1;
  put("many-text", `${call.doing}: ${number(call.done)} of ${number(call.requested)}`);
}

function lists(state) {
  const messages = state.messages.map(({ at, subject, body }) => `${at} ${subject}  ${body}`);
  put("messages", messages.reverse().join("\n") || "Nothing yet.");
  const lines = state.lines.map(({ at, from, text }) => `${at} ${from}: ${text}`);
  put("lines", lines.reverse().join("\n") || "Nothing yet.");
}

function show(state) {
  if (!state.verdict) return;
  $("invoices").href = state.invoices_page;
  verdict(state);
  switches(state);
  flow(state);
  chart(state);
  many(state);
  lists(state);
  back(state);
}

$("test").hidden = location.hash !== "#test";
addEventListener("hashchange", () => ($("test").hidden = location.hash !== "#test"));

const events = new EventSource("state/follow");
events.addEventListener("message", (event) => {
  $("connection").classList.remove("away");
  put("connection", "Live");
  show(JSON.parse(event.data));
});
events.addEventListener("error", () => {
  $("connection").classList.add("away");
  put("connection", "The control room cannot be reached: it ends with the demo. Trying again…");
  $("verdict").className = "unknown";
  put("verdict-text", "What stands here is old.");
});
