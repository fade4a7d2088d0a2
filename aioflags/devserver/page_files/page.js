// The page of the development server. It shows the events of /control/live, and calls the control API.
"use strict";

const $ = (id) => document.getElementById(id);
const TOKEN = token();
const SILENCE_LIMIT_MS = 15000; // the server sends a heartbeat every five seconds

const FDV2 = ["/sdk/poll", "/sdk/stream", "/sdk/poll/eval", "/sdk/stream/eval"];
const FDV1 = ["/sdk/latest-all", "/all", "/msdk/evalx", "/meval", "/sdk/evalx", "/eval"];
const PINGS = ["/mping", "/ping"];
const LD = [...FDV2, ...FDV1, ...PINGS];
const EVENTS = ["/bulk", "/diagnostic", "/mobile", "/mobile/events/diagnostic", "/events/bulk", "/events/diagnostic", "/sdk/goals"];
const OFREP = "/ofrep/v1/evaluate/flags";
const DATA = [...LD, OFREP, "SyncFlags", "FetchAllFlags", "GetMetadata", "EventStream", "Resolve", "ResolveAll"];
const FAULTS = {
  status: { label: "status", on: [...DATA, ...EVENTS], options: [["status", "HTTP", "number", 503], ["code", "gRPC (empty: UNAVAILABLE)", "text", ""]] },
  directive: { label: "fallback directive", on: LD, options: [["ttl", "TTL in s (empty: none)", "number", ""], ["payload", "with payload", "checkbox", true]] },
  goodbye: { label: "goodbye", on: FDV2, options: [["ttl", "TTL in s (empty: none)", "number", ""]] },
  error: { label: "error event", on: FDV2, options: [] },
  malformed: { label: "malformed JSON", on: [...FDV2, ...FDV1, OFREP, "SyncFlags", "FetchAllFlags"], options: [] },
  truncated: { label: "truncated body", on: [...LD, OFREP], options: [] },
  silence: { label: "silence", on: [...DATA, ...EVENTS], options: [] },
  drip: { label: "slow drip", on: DATA, options: [["rate", "bytes/s", "number", 50]] },
  delay: { label: "delay", on: [...DATA, ...EVENTS], options: [["delay", "seconds", "number", 2]] },
  reset: { label: "connection reset", on: [...DATA, ...EVENTS], options: [] },
  close: { label: "connection closed", on: [...DATA, ...EVENTS], options: [] },
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

// -- requests to the server

function token() {
  const fragmentToken = new URLSearchParams(location.hash.slice(1)).get("token");
  if (fragmentToken) {
    sessionStorage.setItem("token", fragmentToken);
    history.replaceState(null, "", location.pathname);
  }
  return fragmentToken || sessionStorage.getItem("token") || "";
}

async function request(method, path, body, signal) {
  const init = { method, headers: { Authorization: `Bearer ${TOKEN}` }, cache: "no-store", signal };
  if (body !== undefined) init.body = typeof body === "string" ? body : JSON.stringify(body);
  const answer = await fetch(`/control${path}`, init);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(problem.error || `status ${answer.status}`), { status: answer.status });
  }
  return answer;
}

/** Calls the control API and shows the result. Returns undefined if the call failed. `place` returns the element for the message. */
async function call(method, path, body, done, place = () => $("message")) {
  try {
    const answer = await (await request(method, path, body)).json();
    const warnings = answer?.warnings ?? [];
    showMessage([done, ...warnings].filter(Boolean).join("\n"), warnings.length ? "bad" : "good", place());
    return answer ?? true;
  } catch (problem) {
    showMessage(problem instanceof TypeError ? "The server does not answer." : problem.message, "bad", place());
    return undefined;
  }
}

/** Shows a message at the top, or at the field that it is about. Removes the previous message. */
function showMessage(text, kind = "", place = $("message")) {
  for (const other of document.querySelectorAll(".message")) if (other !== place) other.textContent = "";
  place.textContent = text;
  place.className = `message ${kind}`;
}

/** The parts of a streamed body between separators. An incomplete part waits for its end. */
async function* splitBody(answer, separator, onData = () => {}) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onData();
    const complete = (pending + value).split(separator);
    pending = complete.pop();
    yield* complete;
  }
}

async function follow() {
  for (;;) {
    const silence = new AbortController();
    let timer;
    const restartTimer = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_LIMIT_MS);
    };
    try {
      restartTimer();
      const answer = await request("GET", "/live", undefined, silence.signal);
      connected();
      for await (const event of splitBody(answer, "\n\n", restartTimer)) {
        const name = /^event: (.*)$/m.exec(event)?.[1];
        if (name in SHOW) SHOW[name](JSON.parse(/^data: (.*)$/m.exec(event)[1]));
      }
      disconnected("The server cannot be reached. This page is out of date. Reconnecting every second…");
    } catch (problem) {
      if (problem.status === 401) {
        disconnected("This page has no valid token. Open the address that the server printed when it started.");
        return;
      }
      disconnected(problem.status ? problem.message : "The server cannot be reached. This page is out of date. Reconnecting every second…");
    } finally {
      clearTimeout(timer);
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

function connected() {
  $("connection").textContent = "Connected. This page updates live.";
  $("connection").className = "";
  document.body.dataset.connection = "live";
}

function disconnected(reason) {
  $("connection").textContent = reason;
  $("connection").className = "disconnected";
  document.body.dataset.connection = "disconnected";
}

// -- building the page

/** Creates an element with properties (`on…` are listeners) and children. Strings become text, never HTML. */
function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Updates the children of a list by key. Unchanged children are not moved, because moving an element removes the focus from it. */
function fill(list, entries, make) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let restoreFocus = () => {};
  const next = entries.map(([key, entry]) => {
    const text = JSON.stringify(entry);
    const existing = old.get(key);
    if (existing && existing.dataset.entry === text) return existing;
    const replacement = make(key, entry);
    replacement.dataset.key = key;
    replacement.dataset.entry = text;
    if (existing) restoreFocus = carryOver(existing, replacement) ?? restoreFocus;
    return replacement;
  });
  const kept = new Set(next);
  for (const child of [...list.children]) if (!kept.has(child)) child.remove();
  next.forEach((child, i) => {
    if (list.children[i] !== child) list.insertBefore(child, list.children[i] ?? null);
  });
  restoreFocus();
}

/** Copies messages, open editors and unsaved text to the replacement of an element. Returns a function that restores the focus, or null. */
function carryOver(existing, replacement) {
  const [before, after] = [existing, replacement].map((item) => item.querySelector("textarea"));
  const [message, place] = [existing, replacement].map((item) => item.querySelector(".message"));
  if (message?.textContent) [place.textContent, place.className] = [message.textContent, message.className];
  if (existing.querySelector("details[open]")) replacement.querySelector("details").open = true;
  if (before && before.value !== before.defaultValue) {
    after.value = before.value;
    showMessage("This object has changed on the server. Applying your text replaces that change.", "bad", place);
  }
  const focused = document.activeElement;
  if (!existing.contains(focused)) return null;
  const { selectionStart, selectionEnd, scrollTop } = focused;
  return () => {
    const target = replacement.querySelector(`[data-act="${focused.dataset.act}"]`);
    target?.focus();
    if (target && target === after) {
      target.setSelectionRange(selectionStart, selectionEnd);
      target.scrollTop = scrollTop;
    }
  };
}

const count = (objects, name) => `${Object.keys(objects).length} ${name}${Object.keys(objects).length === 1 ? "" : "s"}`;
const pretty = (value) => JSON.stringify(value, null, 2);
const time = (ms) => new Date(ms).toLocaleTimeString();

// -- flags and segments

let flags = { format: "launchdarkly", flags: {}, segments: {}, overrides: [] };

function showFlags(section) {
  flags = section;
  drawFlags();
  const isFlagd = section.format === "flagd";
  for (const part of document.querySelectorAll(".launchdarkly")) part.hidden = isFlagd;
  if (isFlagd && $("ask-context").value === $("ask-context").defaultValue) $("ask-context").value = '{"targetingKey": "user-123"}';
  $("summary").textContent = `version ${section.version} · ${count(section.flags, "flag")} · ${isFlagd ? "flagd's format" : count(section.segments, "segment")}`;
  $("flag-keys").replaceChildren(...Object.keys(section.flags).map((value) => el("option", { value })));
  fill($("overrides"), section.overrides.map((override) => [`${override.flag} ${override.kind} ${override.key}`, override]), (_, override) =>
    el("li", { className: "row" },
      el("span", { className: "key" }, override.flag),
      `is ${JSON.stringify(override.value)} for ${override.kind} ${override.key}`,
      el("button", { type: "button", "data-act": "lift", onclick: () => call("DELETE", `/overrides?${new URLSearchParams({ flag: override.flag, kind: override.kind, key: override.key })}`, undefined, "Lifted.") }, "Lift")));
}

function drawFlags() {
  const text = $("find").value.toLowerCase();
  const matching = (objects) => Object.entries(objects).filter(([key]) => key.toLowerCase().includes(text));
  fill($("flags"), matching(flags.flags), flagItem);
  fill($("segments"), matching(flags.segments), (key, segment) => el("li", {}, el("div", { className: "row" }, el("span", { className: "key" }, key)), editor("segments", key, segment)));
}

function flagItem(key, flag) {
  const isOn = flags.format === "flagd" ? flag.state === "ENABLED" : flag.on;
  return el("li", {},
    el("div", { className: "row" },
      el("span", { className: "key" }, key),
      el("span", { className: isOn ? "good" : "quiet" }, isOn ? "on" : "off"),
      el("button", { type: "button", "data-act": "flip", "aria-label": `Turn ${key} ${isOn ? "off" : "on"}`, onclick: () => call("POST", "/flip", { flag: key }, `${key} is now ${isOn ? "off" : "on"}.`) }, isOn ? "Turn off" : "Turn on"),
      el("button", { type: "button", "data-act": "ask", "aria-label": `Explain ${key}`, onclick: () => { $("ask-flag").value = key; $("ask").requestSubmit(); } }, "Explain")),
    el("div", { className: "quiet" }, ...sentences(flag).map((sentence) => el("div", {}, sentence))),
    editor("flags", key, flag));
}

function editor(section, key, object) {
  const area = el("textarea", { rows: 14, spellcheck: false, defaultValue: pretty(object), "data-act": "json", "aria-label": `JSON of ${key}` });
  const path = `/${section}/${encodeURIComponent(key)}`;
  const message = el("p", { className: "message", "aria-live": "polite" });
  // The item may have been replaced before the response arrives.
  const place = () => message.isConnected ? message : [...$(section).children].find((item) => item.dataset.key === key)?.querySelector(".message") ?? $("message");
  return el("details", {},
    el("summary", { "data-act": "edit" }, "Edit"),
    area,
    message,
    el("p", {},
      el("button", { type: "button", "data-act": "store", onclick: async () => { if (await call("PUT", path, area.value, `${key} is updated.`, place)) area.defaultValue = area.value; } }, "Apply"),
      " ",
      el("button", { type: "button", "data-act": "undo", onclick: () => { area.value = area.defaultValue; message.textContent = ""; } }, "Revert"),
      " ",
      el("button", { type: "button", "data-act": "delete", onclick: () => { if (confirm(`Delete ${key}?`)) call("DELETE", path, undefined, `${key} is deleted.`); } }, "Delete")));
}

/** The targeting of a flag as sentences. */
function sentences(flag) {
  if (flags.format === "flagd") return flagdSentences(flag);
  const served = (what) => what?.rollout
    ? `a rollout of ${what.rollout.variations?.map((part) => `${(part.weight ?? 0) / 1000} % ${show(part.variation)}`).join(", ")}`
    : what?.variation === undefined || what?.variation === null ? "the default" : show(what.variation);
  const show = (index) => JSON.stringify(flag.variations?.[index]) ?? `variation ${index} (does not exist)`;
  const lines = [];
  if (!flag.on) return [`serves ${served({ variation: flag.offVariation })} to all contexts`];
  for (const prerequisite of flag.prerequisites ?? []) lines.push(`requires ${prerequisite.key} to serve variation ${prerequisite.variation}`);
  for (const target of [...(flag.contextTargets ?? []), ...(flag.targets ?? [])]) {
    if (target.values?.length) lines.push(`${target.contextKind ?? "user"} ${target.values.slice(0, 5).join(", ")}${target.values.length > 5 ? "…" : ""} → ${show(target.variation)}`);
  }
  for (const rule of flag.rules ?? []) lines.push(`if ${(rule.clauses ?? []).map(clauseText).join(" and ") || "any context"} → ${served(rule)}`);
  lines.push(`${lines.length ? "all other contexts" : "all contexts"} → ${served(flag.fallthrough)}`);
  return lines;
}

/** The variants of a flag in flagd's format, and whether it has a rule. */
function flagdSentences(flag) {
  if (flag.state !== "ENABLED") return ["is disabled: all contexts get the default of the call"];
  const served = flag.defaultVariant ? `${flag.defaultVariant}: ${JSON.stringify(flag.variants?.[flag.defaultVariant])}` : "the default of the call";
  const hasRule = flag.targeting && Object.keys(flag.targeting).length;
  return [...(hasRule ? [`rule: ${JSON.stringify(flag.targeting)}`] : []), `${hasRule ? "all other contexts" : "all contexts"} → ${served}`];
}

function clauseText(clause) {
  const who = clause.contextKind && clause.contextKind !== "user" ? `${clause.contextKind} ` : "";
  const values = (clause.values ?? []).slice(0, 5).map((value) => JSON.stringify(value)).join(", ");
  const what = clause.op === "segmentMatch" ? "segment" : `${who}${clause.attribute ?? ""}`;
  return `${clause.negate ? "not " : ""}${what} ${clause.op === "segmentMatch" ? "" : `${clause.op} `}${values}`;
}

// -- the context editor

/** The context in the field. Throws an error if it is not valid. */
function context() {
  let written;
  try {
    written = JSON.parse($("ask-context").value);
  } catch (problem) {
    throw new Error(`The context is not JSON: ${problem.message}`);
  }
  if (written === null || typeof written !== "object") throw new Error('The context must be an object, such as {"kind": "user", "key": "user-123"}.');
  return written;
}

async function ask(event) {
  event.preventDefault();
  let evaluated;
  try {
    evaluated = context();
  } catch (problem) {
    showMessage(problem.message, "bad", $("ask-message"));
    return;
  }
  const answer = await call("POST", "/explain", { flag: $("ask-flag").value, context: evaluated }, undefined, () => $("ask-message"));
  if (!answer) return;
  $("answer").replaceChildren(
    el("strong", {}, answer.variationIndex === null && !answer.variant ? "the default of the call" : JSON.stringify(answer.value)),
    ` — ${reasonText(answer.reason)}`,
    stepList(answer.steps));
}

/** The steps of an explanation as a nested list. */
function stepList(steps) {
  const mark = { true: "yes", false: "no" };
  return el("ol", {}, ...steps.map((step) =>
    el("li", { className: mark[step.holds] ?? "" }, step.text, step.steps ? stepList(step.steps) : null)));
}

function reasonText(reason) {
  switch (reason.kind) {
    case "OFF": return "the flag is off";
    case "FALLTHROUGH": return "no target and no rule matched";
    case "TARGET_MATCH": return "this context is targeted";
    case "RULE_MATCH": return `rule ${reason.ruleIndex} matched`;
    case "PREREQUISITE_FAILED": return `the prerequisite ${reason.prerequisiteKey} is not met`;
    case "STATIC": return "the flag has no rule";
    case "TARGETING_MATCH": return "the rule chose this variant";
    case "DEFAULT": return "the rule chose no variant, or there is no default variant";
    case "DISABLED": return "the flag is disabled";
    case "ERROR": return `an error: ${reason.errorMessage ?? reason.errorKind}`;
    default: return reason.kind;
  }
}

async function override(event) {
  event.preventDefault();
  let value;
  let evaluated;
  try {
    evaluated = context();
    if (evaluated.kind === "multi") throw new Error("An override needs a context of a single kind, not a multi-context.");
  } catch (problem) {
    showMessage(problem.message, "bad", $("ask-message"));
    return;
  }
  try {
    value = JSON.parse($("override-value").value);
  } catch (problem) {
    showMessage(`The value is not JSON: ${problem.message}`, "bad", $("override-message"));
    return;
  }
  if (await call("PUT", "/overrides", { flag: $("ask-flag").value, kind: evaluated.kind ?? "user", key: evaluated.key, value }, "Overridden.", () => $("override-message"))) $("ask").requestSubmit();
}

// -- faults

function showFaults(section) {
  fill($("faults"), section.map((fault) => [String(fault.number), fault]), (number, fault) => {
    const { kind, on, remaining, holds, number: _, ...rest } = fault;
    const details = Object.entries(rest).filter(([name]) => name !== "times").map(([name, value]) => `${name} ${value}${UNITS[name] ?? ""}`);
    const length = remaining === null ? (fault.for ? "" : "until lifted") : remaining ? `${remaining} more` : "";
    const affected = holds ? `affects ${holds} open ${holds === 1 ? "response" : "responses"}` : "";
    return el("li", { className: "row" },
      el("span", { className: "key" }, FAULTS[kind].label),
      el("span", { className: "quiet" }, [...details, length, affected, `on ${on.join(", ")}`].filter(Boolean).join(" · ")),
      el("button", { type: "button", "data-act": "lift", "aria-label": `Lift ${FAULTS[kind].label}`, onclick: () => call("DELETE", `/faults/${number}`, undefined, "Lifted.") }, "Lift"));
  });
}

function drawFaultForm() {
  const fault = FAULTS[$("fault-kind").value];
  $("fault-options").replaceChildren(...fault.options.map(([name, label, type, value]) =>
    el("label", {}, `${label} `, el("input", { name, type, step: "any", ...(type === "checkbox" ? { checked: value } : { value }) }))));
  $("fault-on").replaceChildren(...fault.on.filter((value) => endpoints.includes(value)).map((value) =>
    el("label", {}, el("input", { type: "checkbox", name: "on", value }), ` ${value}`)));
}

function inject(event) {
  event.preventDefault();
  const fault = { kind: $("fault-kind").value };
  for (const input of $("fault-options").querySelectorAll("input")) {
    if (input.type === "checkbox") fault[input.name] = input.checked;
    else if (input.type === "text" && input.value !== "") fault[input.name] = input.value;
    else if (input.value !== "") fault[input.name] = Number(input.value);
  }
  const on = [...$("fault-on").querySelectorAll("input:checked")].map((input) => input.value);
  if (on.length) fault.on = on;
  const length = new FormData($("fault")).get("fault-length");
  if (length === "once") fault.times = 1;
  if (length === "for") fault.for = Number($("fault-for").value);
  call("POST", "/faults", fault, `Injected: ${FAULTS[fault.kind].label}.`, () => $("fault-message"));
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
    for await (const line of splitBody(answer, "\n")) {
      const { done, error } = JSON.parse(line);
      $("scenario-done").append(el("li", { className: error ? "bad" : "" }, error ?? done));
    }
    showMessage("The scenario is complete.", "good", $("scenario-message"));
  } catch (problem) {
    showMessage(problem.name === "AbortError" ? "The scenario was stopped." : problem.message, "bad", $("scenario-message"));
  } finally {
    $("scenario-play").disabled = false;
    $("scenario-stop").disabled = true;
  }
}

// -- clients and events

let clients = [];
let endpoints = [];

function showClients(section) {
  clients = section.clients;
  if (endpoints.join() !== section.endpoints.join()) {
    endpoints = section.endpoints;
    drawFaultForm();
  }
  drawClients();
}

/** Shows the clients. A client without a stream is removed some time after its last request. */
function drawClients() {
  const sent = (record) => record ? el("span", {}, `${record.what} on ${record.endpoint}, version ${record.version} `, el("span", { className: "quiet" }, time(record.at_ms))) : el("span", { className: "quiet" }, "nothing");
  const rows = clients.filter((client) => client.goneAt === null || client.goneAt > Date.now()).sort((a, b) => b.streams.length - a.streams.length || b.lastSeen - a.lastSeen).slice(0, 200);
  fill($("clients"), rows.map((client) => [String(client.number), client]), (_, client) =>
    el("tr", {},
      el("td", { className: "number" }, String(client.number)),
      el("td", {}, client.agent, client.audience ? el("div", {}, [client.audience, client.context].filter(Boolean).join(" · ")) : null, client.tags ? el("div", { className: "quiet" }, client.tags) : null),
      el("td", {}, client.streams.join(", ") || el("span", { className: "quiet" }, "none")),
      el("td", { className: "number" }, String(client.requests)),
      el("td", {}, sent(client.sent)),
      el("td", {}, sent(client.fault))));
}

let events = { count: 0, faulty: 0, newest: [] };

function showEvents(section) {
  events = section;
  $("events-count").textContent = `${section.count} received, ${section.faulty} with problems. `;
  const shown = section.newest.filter((event) => !$("events-faulty").checked || event.problems.length);
  fill($("events"), shown.map((event) => [String(event.number), event]), (_, event) =>
    el("tr", {},
      el("td", { className: "number" }, time(event.at_ms)),
      el("td", { className: "number" }, String(event.client)),
      el("td", {}, event.kind),
      el("td", {}, event.text ? el("details", {}, el("summary", {}, el("code", {}, event.text.slice(0, 80))), el("code", {}, event.text)) : ""),
      el("td", { className: "bad" }, ...event.problems.map((problem) => el("div", {}, problem)))));
}

// -- start

const SHOW = { flags: showFlags, clients: showClients, faults: showFaults, events: showEvents };

$("find").addEventListener("input", drawFlags);
$("save").addEventListener("click", async () => {
  const saved = await call("POST", "/save");
  if (saved) showMessage(`Saved to ${saved.saved}.`, "good");
});
$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [section, key] = [$("add-section").value, $("add-key").value];
  if (Object.hasOwn(flags[section], key)) return showMessage(`${key} already exists.`, "bad", $("add-message"));
  const fresh = section === "flags"
    ? flags.format === "flagd" ? { state: "ENABLED", variants: { on: true, off: false }, defaultVariant: "off" } : { on: false, variations: [true, false], offVariation: 1, fallthrough: { variation: 0 }, rules: [] }
    : { included: [], rules: [] };
  if (await call("PUT", `/${section}/${encodeURIComponent(key)}`, fresh, `${key} is added.`, () => $("add-message"))) $("add").reset();
});
$("ask").addEventListener("submit", ask);
$("override").addEventListener("submit", override);
$("fault-kind").append(...Object.entries(FAULTS).map(([value, { label }]) => el("option", { value }, label)));
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
