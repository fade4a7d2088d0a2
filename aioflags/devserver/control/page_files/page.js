// The page of the development server. It shows what /control/live tells, and calls the control API.
"use strict";

const $ = (id) => document.getElementById(id);
const TOKEN = token();
const EXPECTED_EVERY_MS = 15000; // the server says something every five seconds, if only that it is there

const FDV2 = ["/sdk/poll", "/sdk/stream"];
const DATA = [...FDV2, "/sdk/latest-all", "/all"];
const EVENTS = ["/bulk", "/diagnostic"];
const FAULTS = {
  status: { says: "HTTP status", on: [...DATA, ...EVENTS], options: [["status", "code", "number", 503]] },
  directive: { says: "fallback directive", on: DATA, options: [["ttl", "TTL in s (empty: none)", "number", ""], ["payload", "with payload", "checkbox", true]] },
  goodbye: { says: "goodbye", on: FDV2, options: [["ttl", "TTL in s (empty: none)", "number", ""]] },
  error: { says: "error event", on: FDV2, options: [] },
  malformed: { says: "malformed JSON", on: DATA, options: [] },
  truncated: { says: "truncated body", on: DATA, options: [] },
  silence: { says: "silence", on: [...DATA, ...EVENTS], options: [] },
  drip: { says: "slow drip", on: DATA, options: [["rate", "bytes/s", "number", 50]] },
  delay: { says: "delay", on: [...DATA, ...EVENTS], options: [["delay", "seconds", "number", 2]] },
  reset: { says: "connection reset", on: [...DATA, ...EVENTS], options: [] },
  close: { says: "connection closed", on: [...DATA, ...EVENTS], options: [] },
};
const UNITS = { for: " s", delay: " s", ttl: " s", rate: " bytes/s" };
const EXAMPLE = {
  steps: [
    { fault: { kind: "status", status: 503, times: 2 } },
    { after: 1, fault: { kind: "silence", for: 5 } },
    { fault: { kind: "directive", ttl: 60 } },
    { after: 10, lift: "all" },
  ],
};

// -- talking to the server

function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return given || sessionStorage.getItem("token") || "";
}

async function request(method, path, body, signal) {
  const init = { method, headers: { Authorization: `Bearer ${TOKEN}` }, cache: "no-store", signal };
  if (body !== undefined) init.body = typeof body === "string" ? body : JSON.stringify(body);
  const answer = await fetch(`/control${path}`, init);
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(told.error || `status ${answer.status}`), { status: answer.status });
  }
  return answer;
}

/** A call, whose result is shown on the page; answers undefined if it failed. `place` answers where to show it: the field it is about. */
async function call(method, path, body, done, place = () => $("said")) {
  try {
    const answer = await (await request(method, path, body)).json();
    const warnings = answer?.warnings ?? [];
    say([done, ...warnings].filter(Boolean).join("\n"), warnings.length ? "bad" : "good", place());
    return answer ?? true;
  } catch (problem) {
    say(problem instanceof TypeError ? "The server does not answer." : problem.message, "bad", place());
    return undefined;
  }
}

/** Shows a message in place of the last one: at the top, or at the field that it is about. */
function say(text, how = "", place = $("said")) {
  for (const other of document.querySelectorAll(".said")) if (other !== place) other.textContent = "";
  place.textContent = text;
  place.className = `said ${how}`;
}

/** What has arrived of a body, piece by piece, cut at a separator; what has no end yet is kept back. */
async function* pieces(answer, separator, arrived = () => {}) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    arrived();
    const found = (pending + value).split(separator);
    pending = found.pop();
    yield* found;
  }
}

async function follow() {
  for (;;) {
    const giving_up = new AbortController();
    let timer;
    const is_there = () => {
      clearTimeout(timer);
      timer = setTimeout(() => giving_up.abort(), EXPECTED_EVERY_MS);
    };
    try {
      is_there();
      const answer = await request("GET", "/live", undefined, giving_up.signal);
      connected();
      for await (const event of pieces(answer, "\n\n", is_there)) {
        const name = /^event: (.*)$/m.exec(event)?.[1];
        if (name in SHOW) SHOW[name](JSON.parse(/^data: (.*)$/m.exec(event)[1]));
      }
      gone("The server is gone. Nothing here is up to date. Trying again every second…");
    } catch (problem) {
      if (problem.status === 401) {
        gone("This page has no valid token. Open the address that the server printed when it started.");
        return;
      }
      gone(problem.status ? problem.message : "The server is gone. Nothing here is up to date. Trying again every second…");
    } finally {
      clearTimeout(timer);
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

function connected() {
  $("connection").textContent = "Connected: this page is live.";
  $("connection").className = "";
  document.body.dataset.connection = "live";
}

function gone(why) {
  $("connection").textContent = why;
  $("connection").className = "gone";
  document.body.dataset.connection = "gone";
}

// -- building the page

/** An element: its properties (`on…` are listeners), and its children. Texts are never taken for HTML. */
function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key.includes("-")) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Replaces the children of a list by key. Those that did not change are not even moved, which would take the keyboard from them. */
function fill(list, entries, make) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let takeKeyboard = () => {};
  const next = entries.map(([key, entry]) => {
    const text = JSON.stringify(entry);
    const there = old.get(key);
    if (there && there.dataset.entry === text) return there;
    const made = make(key, entry);
    made.dataset.key = key;
    made.dataset.entry = text;
    if (there) takeKeyboard = goOn(there, made) ?? takeKeyboard;
    return made;
  });
  const kept = new Set(next);
  for (const child of [...list.children]) if (!kept.has(child)) child.remove();
  next.forEach((child, i) => {
    if (list.children[i] !== child) list.insertBefore(child, list.children[i] ?? null);
  });
  takeKeyboard();
}

/** What a person does in an element goes on in the one that replaces it. Answers how the keyboard gets there, if it was in the old one. */
function goOn(there, made) {
  const [before, after] = [there, made].map((item) => item.querySelector("textarea"));
  const [message, place] = [there, made].map((item) => item.querySelector(".said"));
  if (message?.textContent) [place.textContent, place.className] = [message.textContent, message.className];
  if (there.querySelector("details[open]")) made.querySelector("details").open = true;
  if (before && before.value !== before.defaultValue) {
    after.value = before.value;
    say("What you are editing has changed on the server; saving will replace that.", "bad", place);
  }
  const focused = document.activeElement;
  if (!there.contains(focused)) return null;
  const { selectionStart, selectionEnd, scrollTop } = focused;
  return () => {
    const heir = made.querySelector(`[data-act="${focused.dataset.act}"]`);
    heir?.focus();
    if (heir && heir === after) {
      heir.setSelectionRange(selectionStart, selectionEnd);
      heir.scrollTop = scrollTop;
    }
  };
}

const count = (objects, name) => `${Object.keys(objects).length} ${name}${Object.keys(objects).length === 1 ? "" : "s"}`;
const pretty = (value) => JSON.stringify(value, null, 2);
const time = (ms) => new Date(ms).toLocaleTimeString();

// -- flags and segments

let flags = { flags: {}, segments: {}, overrides: [] };

function showFlags(told) {
  flags = told;
  drawFlags();
  $("summary").textContent = `version ${told.version} · ${count(told.flags, "flag")} · ${count(told.segments, "segment")}`;
  $("flag-keys").replaceChildren(...Object.keys(told.flags).map((value) => el("option", { value })));
  fill($("overrides"), told.overrides.map((one) => [`${one.flag} ${one.kind} ${one.key}`, one]), (_, one) =>
    el("li", { className: "row" },
      el("span", { className: "key" }, one.flag),
      `is ${JSON.stringify(one.value)} for ${one.kind} ${one.key}`,
      el("button", { type: "button", "data-act": "lift", onclick: () => call("DELETE", `/overrides?${new URLSearchParams({ flag: one.flag, kind: one.kind, key: one.key })}`, undefined, "Lifted.") }, "Lift")));
}

function drawFlags() {
  const wanted = $("find").value.toLowerCase();
  const matching = (objects) => Object.entries(objects).filter(([key]) => key.toLowerCase().includes(wanted));
  fill($("flags"), matching(flags.flags), flagItem);
  fill($("segments"), matching(flags.segments), (key, segment) => el("li", {}, el("div", { className: "row" }, el("span", { className: "key" }, key)), editor("segments", key, segment)));
}

function flagItem(key, flag) {
  return el("li", {},
    el("div", { className: "row" },
      el("span", { className: "key" }, key),
      el("span", { className: flag.on ? "good" : "quiet" }, flag.on ? "on" : "off"),
      el("button", { type: "button", "data-act": "flip", "aria-label": `Turn ${key} ${flag.on ? "off" : "on"}`, onclick: () => call("POST", "/flip", { flag: key }, `${key} is ${flag.on ? "off" : "on"} now.`) }, flag.on ? "Turn off" : "Turn on"),
      el("button", { type: "button", "data-act": "ask", "aria-label": `Explain ${key}`, onclick: () => { $("ask-flag").value = key; $("ask").requestSubmit(); } }, "Explain")),
    el("div", { className: "quiet" }, ...sentences(flag).map((sentence) => el("div", {}, sentence))),
    editor("flags", key, flag));
}

function editor(section, key, object) {
  const area = el("textarea", { rows: 14, spellcheck: false, defaultValue: pretty(object), "data-act": "json", "aria-label": `JSON of ${key}` });
  const path = `/${section}/${encodeURIComponent(key)}`;
  const message = el("p", { className: "said", "aria-live": "polite" });
  // The item may have been replaced by a newer one when an answer arrives.
  const place = () => message.isConnected ? message : [...$(section).children].find((item) => item.dataset.key === key)?.querySelector(".said") ?? $("said");
  return el("details", {},
    el("summary", { "data-act": "edit" }, "Edit"),
    area,
    message,
    el("p", {},
      el("button", { type: "button", "data-act": "store", onclick: async () => { if (await call("PUT", path, area.value, `${key} is served as edited.`, place)) area.defaultValue = area.value; } }, "Serve this"),
      " ",
      el("button", { type: "button", "data-act": "undo", onclick: () => { area.value = area.defaultValue; message.textContent = ""; } }, "Undo"),
      " ",
      el("button", { type: "button", "data-act": "delete", onclick: () => { if (confirm(`Serve ${key} no more?`)) call("DELETE", path, undefined, `${key} is served no more.`); } }, "Delete")));
}

/** The targeting of a flag in words. */
function sentences(flag) {
  const served = (what) => what?.rollout
    ? `a rollout of ${what.rollout.variations?.map((part) => `${(part.weight ?? 0) / 1000} % ${show(part.variation)}`).join(", ")}`
    : what?.variation === undefined || what?.variation === null ? "the default" : show(what.variation);
  const show = (index) => JSON.stringify(flag.variations?.[index]) ?? `variation ${index}, which there is none of`;
  const found = [];
  if (!flag.on) return [`serves ${served({ variation: flag.offVariation })} to everybody`];
  for (const one of flag.prerequisites ?? []) found.push(`needs ${one.key} to serve variation ${one.variation}`);
  for (const one of [...(flag.contextTargets ?? []), ...(flag.targets ?? [])]) {
    if (one.values?.length) found.push(`${one.contextKind ?? "user"} ${one.values.slice(0, 5).join(", ")}${one.values.length > 5 ? "…" : ""} → ${show(one.variation)}`);
  }
  for (const rule of flag.rules ?? []) found.push(`if ${(rule.clauses ?? []).map(clause).join(" and ") || "anybody"} → ${served(rule)}`);
  found.push(`${found.length ? "all others" : "everybody"} → ${served(flag.fallthrough)}`);
  return found;
}

function clause(one) {
  const who = one.contextKind && one.contextKind !== "user" ? `${one.contextKind} ` : "";
  const values = (one.values ?? []).slice(0, 5).map((value) => JSON.stringify(value)).join(", ");
  const what = one.op === "segmentMatch" ? "segment" : `${who}${one.attribute ?? ""}`;
  return `${one.negate ? "not " : ""}${what} ${one.op === "segmentMatch" ? "" : `${one.op} `}${values}`;
}

// -- the context editor

/** The context that stands in the field. Throws what is wrong with it. */
function context() {
  let written;
  try {
    written = JSON.parse($("ask-context").value);
  } catch (problem) {
    throw new Error(`The context is not JSON: ${problem.message}`);
  }
  if (written === null || typeof written !== "object") throw new Error('The context is no object, such as {"kind": "user", "key": "user-123"}.');
  return written;
}

async function ask(event) {
  event.preventDefault();
  let asked;
  try {
    asked = context();
  } catch (problem) {
    say(problem.message, "bad", $("ask-said"));
    return;
  }
  const answer = await call("POST", "/explain", { flag: $("ask-flag").value, context: asked }, undefined, () => $("ask-said"));
  if (!answer) return;
  $("answer").replaceChildren(
    el("strong", {}, answer.variationIndex === null ? "the default of the call" : JSON.stringify(answer.value)),
    ` — ${because(answer.reason)}`,
    told(answer.steps));
}

/** The steps of an explanation, and within each those that it is made of. */
function told(steps) {
  const mark = { true: "yes", false: "no" };
  return el("ol", {}, ...steps.map((step) =>
    el("li", { className: mark[step.holds] ?? "" }, step.text, step.steps ? told(step.steps) : null)));
}

function because(reason) {
  switch (reason.kind) {
    case "OFF": return "the flag is off";
    case "FALLTHROUGH": return "no target and no rule matched";
    case "TARGET_MATCH": return "this context is targeted";
    case "RULE_MATCH": return `rule ${reason.ruleIndex} matched`;
    case "PREREQUISITE_FAILED": return `the prerequisite ${reason.prerequisiteKey} is not met`;
    case "ERROR": return `an error: ${reason.errorKind}`;
    default: return reason.kind;
  }
}

async function override(event) {
  event.preventDefault();
  let value;
  let asked;
  try {
    asked = context();
    if (asked.kind === "multi") throw new Error("An override is for a context of one kind: write that one alone.");
  } catch (problem) {
    say(problem.message, "bad", $("ask-said"));
    return;
  }
  try {
    value = JSON.parse($("override-value").value);
  } catch (problem) {
    say(`The value is not JSON: ${problem.message}`, "bad", $("override-said"));
    return;
  }
  if (await call("PUT", "/overrides", { flag: $("ask-flag").value, kind: asked.kind ?? "user", key: asked.key, value }, "Overridden.", () => $("override-said"))) $("ask").requestSubmit();
}

// -- faults

function showFaults(told) {
  fill($("faults"), told.map((fault) => [String(fault.number), fault]), (number, fault) => {
    const { kind, on, remaining, holds, number: _, ...rest } = fault;
    const details = Object.entries(rest).filter(([name]) => name !== "times").map(([name, value]) => `${name} ${value}${UNITS[name] ?? ""}`);
    const length = remaining === null ? (fault.for ? "" : "until lifted") : remaining ? `${remaining} more` : "";
    const held = holds ? `holds ${holds} ${holds === 1 ? "answer" : "answers"} until ${holds === 1 ? "it ends" : "they end"} or it is lifted` : "";
    return el("li", { className: "row" },
      el("span", { className: "key" }, FAULTS[kind].says),
      el("span", { className: "quiet" }, [...details, length, held, `on ${on.join(", ")}`].filter(Boolean).join(" · ")),
      el("button", { type: "button", "data-act": "lift", "aria-label": `Lift ${FAULTS[kind].says}`, onclick: () => call("DELETE", `/faults/${number}`, undefined, "Lifted.") }, "Lift"));
  });
}

function drawFaultForm() {
  const fault = FAULTS[$("fault-kind").value];
  $("fault-options").replaceChildren(...fault.options.map(([name, says, type, value]) =>
    el("label", {}, `${says} `, el("input", { name, type, step: "any", ...(type === "checkbox" ? { checked: value } : { value }) }))));
  $("fault-on").replaceChildren(...fault.on.map((value) =>
    el("label", {}, el("input", { type: "checkbox", name: "on", value }), ` ${value}`)));
}

function inject(event) {
  event.preventDefault();
  const fault = { kind: $("fault-kind").value };
  for (const input of $("fault-options").querySelectorAll("input")) {
    if (input.type === "checkbox") fault[input.name] = input.checked;
    else if (input.value !== "") fault[input.name] = Number(input.value);
  }
  const on = [...$("fault-on").querySelectorAll("input:checked")].map((input) => input.value);
  if (on.length) fault.on = on;
  const length = new FormData($("fault")).get("fault-length");
  if (length === "once") fault.times = 1;
  if (length === "for") fault.for = Number($("fault-for").value);
  call("POST", "/faults", fault, `Injected: ${FAULTS[fault.kind].says}.`, () => $("fault-said"));
}

let playing = null;

async function play(event) {
  event.preventDefault();
  playing = new AbortController();
  $("scenario-done").replaceChildren();
  $("scenario-play").disabled = true;
  $("scenario-stop").disabled = false;
  try {
    const answer = await request("POST", "/scenario", $("scenario-steps").value, playing.signal);
    for await (const line of pieces(answer, "\n")) {
      const { done, error } = JSON.parse(line);
      $("scenario-done").append(el("li", { className: error ? "bad" : "" }, error ?? done));
    }
    say("The scenario is over.", "good", $("scenario-said"));
  } catch (problem) {
    say(problem.name === "AbortError" ? "The scenario was stopped." : problem.message, "bad", $("scenario-said"));
  } finally {
    $("scenario-play").disabled = false;
    $("scenario-stop").disabled = true;
  }
}

// -- clients and events

let clients = [];

function showClients(told) {
  clients = told.clients;
  drawClients();
}

/** The clients that are there. One without a stream that has been silent for a while is gone, and leaves the table. */
function drawClients() {
  const sent = (one) => one ? el("span", {}, `${one.what} on ${one.endpoint}, version ${one.version} `, el("span", { className: "quiet" }, time(one.at_ms))) : el("span", { className: "quiet" }, "nothing");
  const rows = clients.filter((client) => client.goneAt === null || client.goneAt > Date.now()).sort((a, b) => b.streams.length - a.streams.length || b.lastSeen - a.lastSeen).slice(0, 200);
  fill($("clients"), rows.map((client) => [String(client.number), client]), (_, client) =>
    el("tr", {},
      el("td", { className: "number" }, String(client.number)),
      el("td", {}, client.agent, client.tags ? el("div", { className: "quiet" }, client.tags) : null),
      el("td", {}, client.streams.join(", ") || el("span", { className: "quiet" }, "none")),
      el("td", { className: "number" }, String(client.requests)),
      el("td", {}, sent(client.sent)),
      el("td", {}, sent(client.fault))));
}

let events = { count: 0, faulty: 0, newest: [] };

function showEvents(told) {
  events = told;
  $("events-count").textContent = `${told.count} came, ${told.faulty} of them with problems. `;
  const shown = told.newest.filter((event) => !$("events-faulty").checked || event.problems.length);
  fill($("events"), shown.map((event) => [String(event.number), event]), (_, event) =>
    el("tr", {},
      el("td", { className: "number" }, time(event.at_ms)),
      el("td", { className: "number" }, String(event.client)),
      el("td", {}, event.kind),
      el("td", {}, event.text ? el("details", {}, el("summary", {}, el("code", {}, event.text.slice(0, 80))), el("code", {}, event.text)) : ""),
      el("td", { className: "bad" }, ...event.problems.map((problem) => el("div", {}, problem)))));
}

// -- beginning

const SHOW = { flags: showFlags, clients: showClients, faults: showFaults, events: showEvents };

$("find").addEventListener("input", drawFlags);
$("save").addEventListener("click", async () => {
  const saved = await call("POST", "/save");
  if (saved) say(`Saved to ${saved.saved}.`, "good");
});
$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [section, key] = [$("add-section").value, $("add-key").value];
  if (Object.hasOwn(flags[section], key)) return say(`There is a ${key} already.`, "bad", $("add-said"));
  const fresh = section === "flags"
    ? { on: false, variations: [true, false], offVariation: 1, fallthrough: { variation: 0 }, rules: [] }
    : { included: [], rules: [] };
  if (await call("PUT", `/${section}/${encodeURIComponent(key)}`, fresh, `${key} is served.`, () => $("add-said"))) $("add").reset();
});
$("ask").addEventListener("submit", ask);
$("override").addEventListener("submit", override);
$("fault-kind").append(...Object.entries(FAULTS).map(([value, { says }]) => el("option", { value }, says)));
$("fault-kind").addEventListener("change", drawFaultForm);
$("fault").addEventListener("submit", inject);
$("lift-all").addEventListener("click", () => call("DELETE", "/faults", undefined, "All faults are lifted."));
$("scenario-steps").value = pretty(EXAMPLE);
$("scenario").addEventListener("submit", play);
$("scenario-stop").addEventListener("click", () => playing?.abort());
$("events-clear").addEventListener("click", () => call("DELETE", "/events", undefined, "Cleared."));
$("events-faulty").addEventListener("change", () => showEvents(events));
drawFaultForm();
setInterval(drawClients, 1000);
follow();
