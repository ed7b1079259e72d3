// The status page: asks the endpoint it came from every two seconds, as long as somebody looks.
"use strict";

const POLL_SECONDS = 2;
const COST_MAX = 0.05; // of the time may go by with waiting for one kind of answer: a large status is asked for less often
const WINDOW_SECONDS = 300; // of the charts
const PAST_SECONDS = 6 * 3600; // of a value's history
const ROWS_MAX = 200; // values, or zones, shown at a time: those with problems first; the filter finds other values
const COLOURS = 8;
const SVG = "http://www.w3.org/2000/svg";

const REGIONS = new Intl.DisplayNames(["en"], { type: "region", fallback: "code" });

const $ = (id) => document.getElementById(id);
const state = {
  status: null, traffic: null, zones: null, map: null, records: [], seconds: [], selected: "", focused: "",
  colours: new Map(), shapes: new Map(), examples: new Map(), edit: null, placing: null,
};

// ---------------------------------------------------------------------------------------------- elements

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function draw(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Put these where others stand, unless they are the same: what a screen reader is at stays. */
function put(node, ...children) {
  const next = make("div", {}, ...children);
  if (node.innerHTML !== next.innerHTML) node.replaceChildren(...next.childNodes);
}

function say(text) {
  $("message").hidden = !text;
  if ($("message").textContent !== text) $("message").textContent = text;
}

const count = (number) => Math.round(number).toLocaleString("en");
const plural = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;

function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  for (const [unit, size, smaller, part] of [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]]) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / part);
      return `${Math.floor(whole / size)} ${unit}${rest && unit !== "min" ? ` ${rest} ${smaller}` : ""}`;
    }
  }
  return `${whole} s`;
}

const micros = (us) => (us == null ? "–" : us < 1000 ? `${us.toFixed(us < 10 ? 1 : 0)} µs` : `${(us / 1000).toFixed(1)} ms`);
const percent = (share) => (share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(share * 100)} %`);

// ---------------------------------------------------------------------------------------------- asking

class Refused extends Error {
  constructor(status, said) {
    super(said.error || `HTTP ${status}`);
    this.status = status;
    this.said = said;
  }
}

function token() { return sessionStorage.getItem("geodns-token") || ""; }

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (response.status === 304) return { is_same: true };
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) wantToken(body.error);
  if (!response.ok) throw new Refused(response.status, body);
  return { body, etag: response.headers.get("ETag") };
}

class Poll {
  constructor(path, take, seconds = POLL_SECONDS) {
    Object.assign(this, { path, take, seconds, etag: "", timer: 0, is_busy: false, asked: "" });
  }

  async now() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    if (this.is_busy) { this.is_again = true; return; }
    const path = typeof this.path === "function" ? this.path() : this.path;
    let wait = this.seconds * 1000;
    if (path) {
      this.is_busy = true;
      const began = performance.now();
      try {
        const known = path === this.asked ? this.etag : "";
        const found = await ask(path, known ? { headers: { "If-None-Match": known } } : {});
        if (!found.is_same) { this.etag = found.etag; this.asked = path; this.take(found.body); }
        heard(this, "");
      } catch (error) {
        if (error instanceof Refused) heard(this, error.status === 404 ? "" : error.message);
        else if (error instanceof TypeError && !navigator.onLine) heard(this, "no connection to the server");
        else if (error instanceof TypeError) heard(this, "the server does not answer");
        else { console.error(error); heard(this, `this page failed, a bug of geodns: ${error.message}`); }
        this.etag = "";
      } finally {
        this.is_busy = false;
      }
      wait = Math.max(wait, (performance.now() - began) / COST_MAX);
    }
    if (this.is_again) { this.is_again = false; wait = 0; }
    this.timer = setTimeout(() => this.now(), wait);
  }
}

const polls = {
  status: new Poll("/v1/status", (body) => { state.status = body; showStatus(); }),
  traffic: new Poll(() => `/v1/traffic${state.seconds.length ? `?since=${state.seconds.at(-1).at}` : ""}`, takeTraffic),
  zones: new Poll("/v1/zones", (body) => { state.zones = body; showZones(); }),
  map: new Poll(mapPath, (body) => { state.map = body; showMap(); }),
};
const troubles = new Map();

function heard(poll, trouble) {
  if (trouble) troubles.set(poll, trouble);
  else troubles.delete(poll);
  live();
}

function live() {
  const trouble = [...new Set(troubles.values())].join("; ");
  const text = document.hidden ? "paused" : trouble ? "stale" : "live";
  if ($("live").textContent !== text) $("live").textContent = text;
  $("live").className = trouble ? "off" : document.hidden ? "" : "on";
  say(trouble);
}

function wantToken(why) {
  if (!$("token-form").hidden) return;
  openToken(true);
  say(why || "a token is needed");
}

function openToken(is_open) {
  $("token-form").hidden = !is_open;
  $("token-open").setAttribute("aria-expanded", is_open);
}

$("token-open").addEventListener("click", () => {
  openToken($("token-form").hidden);
  if (!$("token-form").hidden) $("token").focus();
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("geodns-token", $("token").value.trim());
  $("token").value = "";
  openToken(false);
  $("token-open").focus();
  begin();
});
$("token-forget").addEventListener("click", () => { sessionStorage.removeItem("geodns-token"); openToken(false); });
document.addEventListener("visibilitychange", () => { live(); if (!document.hidden) begin(); });

function begin() {
  for (const poll of Object.values(polls)) poll.now();
}

// ------------------------------------------------------------------------------------------ head, values

function fact(name, value, is_bad = false) {
  return make("div", { class: is_bad ? "bad" : null }, make("dt", {}, name), make("dd", {}, value));
}

function showFacts() {
  const facts = [];
  const seconds = state.seconds.slice(-10);
  if (seconds.length) {
    const rate = seconds.reduce((sum, each) => sum + each.queries, 0) / seconds.length;
    const slow = seconds.map((each) => each.p99_us).filter((us) => us != null);
    facts.push(fact("queries a second", count(rate)));
    facts.push(fact("latency p99", slow.length ? micros(Math.max(...slow)) : "–"));
  }
  if (state.status) {
    const down = state.status.values.filter((value) => !value.is_up).length;
    facts.push(fact("values", `${count(state.status.values.length)}${down ? `, ${count(down)} down` : ", all up"}`, down > 0));
    const silent = state.status.peers.filter((peer) => !peer.counts).length;
    if (state.status.peers.length) facts.push(fact("peers", silent ? `${silent} silent` : "all heard", silent > 0));
  }
  if (state.zones) {
    const ill = state.zones.zones.filter((zone) => zone.state !== "served").length;
    facts.push(fact("zones", `${count(state.zones.zones.length)}${ill ? `, ${ill} with errors` : ""}`, ill > 0));
  }
  put($("facts"), ...facts);
}

function showStatus() {
  const { status } = state;
  $("instance").textContent = status.id;
  document.title = `${status.id} – geodns`;
  showFacts();
  showValues();
  showInstances();
}

function up(is_up) { return is_up ? "▲ up" : "▼ down"; }

function showValues() {
  const { status } = state;
  const sought = $("filter").value.trim().toLowerCase();
  const found = status.values.filter((value) =>
    !sought || [value.text, ...value.checks, ...value.records, value.is_up ? "up" : "down"].some((text) => text.toLowerCase().includes(sought)));
  found.sort((one, other) => one.is_up - other.is_up);
  const shown = found.slice(0, ROWS_MAX);
  const changes = new Map();
  for (const change of status.history) {
    if (!changes.has(change.text)) changes.set(change.text, []);
    changes.get(change.text).push(change);
  }
  put($("value-rows"), ...shown.map((value) => valueRow(value, changes.get(value.text) || [])));
  const none = status.values.length ? "" : "No value of these zones is checked or forced.";
  const cut = found.length > shown.length ? `${count(shown.length)} of ${count(found.length)} shown` : "";
  $("values-said").textContent = none || cut;
}

function valueRow(value, changes) {
  const { status } = state;
  const own = changes.filter((change) => !change.check || value.checks.includes(change.check));
  let stated = value.is_up ? "▲ up" : "▼ down";
  if (value.forced) stated += ", forced";
  const results = value.checks.map((key) => {
    const check = status.checks[key];
    if (!check) return key;
    const counted = check.own && check.failures ? `, ${check.failures} of ${check.fall} failures` : "";
    return `${check.detail || "no result yet"}${counted} (${key})`;
  });
  if (value.forced) {
    const until = value.forced.until == null ? "" : ` for ${span(value.forced.until - status.at)} more`;
    results.unshift(`forced ${value.forced.is_up ? "up" : "down"}${until}${value.forced.reason ? `: ${value.forced.reason}` : ""} (${value.forced.place})`);
  }
  const rest = value.record_count - 3;
  return make("tr", { class: value.is_up ? null : "bad" },
    make("th", { scope: "row" }, make("code", {}, value.text)),
    make("td", { class: "state" }, stated),
    make("td", { class: "time" }, value.since == null ? "" : span(status.at - value.since)),
    make("td", {}, past(value, own)),
    make("td", {}, results.join("; ")),
    make("td", {}, votes(value)),
    make("td", {}, value.records.slice(0, 3).join(", ") + (rest > 0 ? ` and ${count(rest)} more` : "")));
}

/** The states of the last hours as a strip: up low and pale, down strong, before we know grey. */
function past(value, changes) {
  const { status } = state;
  const shown = Math.max(600, Math.min(PAST_SECONDS, status.at - status.history_since));
  const from = status.at - shown;
  const known = Math.max(from, status.history_since, 0);
  const recent = changes.filter((change) => change.at > known);
  const strip = draw("svg", { class: "past", viewBox: "0 0 120 13", preserveAspectRatio: "none", role: "img" });
  const x = (at) => Math.max(0, (120 * (at - from)) / shown).toFixed(1);
  const part = (begin, end, kind) => {
    const width = Math.max(x(end) - x(begin), kind === "down" ? 1.2 : 0);
    const high = kind === "down" ? 13 : 6;
    strip.append(draw("rect", { x: x(begin), y: 13 - high, width, height: high, class: kind }));
  };
  if (known > from) part(from, known, "unknown");
  let begin = known;
  let is_up = recent.length ? !recent[0].is_up : value.is_up;
  let down = 0;
  for (const change of [...recent, { at: status.at, is_up: null }]) {
    part(begin, change.at, is_up ? "up" : "down");
    if (!is_up) down += change.at - begin;
    begin = change.at;
    is_up = change.is_up;
  }
  const often = recent.length ? `${plural(recent.length, "change")} in the last ${span(shown)}, ${span(down)} down` : `no change in the last ${span(status.at - known)}`;
  strip.setAttribute("aria-label", often);
  strip.prepend(draw("title", {}, often));
  return strip;
}

function votes(value) {
  const seen = new Map();
  for (const key of value.checks) {
    const check = state.status.checks[key];
    if (!check) continue;
    const all = { [state.status.id]: check.own, ...Object.fromEntries(Object.entries(check.peers).map(([url, is_up]) => [host(url), is_up])) };
    for (const [name, is_up] of Object.entries(all)) if (is_up != null) seen.set(name, (seen.get(name) ?? false) || is_up);
  }
  return [...seen].map(([name, is_up]) => `${name} ${up(is_up)}`).join(", ");
}

/** What a peer calls itself, or where it is. */
function host(url) {
  const id = state.status?.peers.find((peer) => peer.peer === url)?.id;
  if (id && id !== state.status.id) return id;
  try { return new URL(url).host; } catch { return url; }
}

function showInstances() {
  const { status } = state;
  const checks = Object.values(status.checks);
  const rows = [make("tr", {}, make("th", { scope: "row" }, `${status.id} (this one)`), make("td", {}, "here"), make("td", { class: "number" }, count(checks.length)), make("td", {}, ""))];
  const differing = [];
  for (const peer of status.peers) {
    const others = checks.filter((check) => check.own != null && peer.peer in check.peers && check.peers[peer.peer] !== check.own);
    for (const check of others) differing.push(`${check.key}: ${status.id} sees it ${check.own ? "up" : "down"}, ${host(peer.peer)} ${check.own ? "down" : "up"}; it counts as ${check.is_up === false ? "down" : "up"}`);
    const when = peer.heard == null ? "never" : `${span(status.at - peer.heard)} ago`;
    rows.push(make("tr", { class: peer.counts ? null : "bad" },
      make("th", { scope: "row" }, host(peer.peer)),
      make("td", { class: "state" }, peer.counts ? when : `▼ silent: ${peer.detail || when}`),
      make("td", { class: "number" }, count(peer.checks)),
      make("td", {}, others.length ? plural(others.length, "check") : peer.counts ? "nothing" : "")));
  }
  for (const peer of status.peers.filter((each) => each.counts)) {
    for (const zone of state.zones?.zones || []) {
      const theirs = peer.zones[zone.zone];
      if (Object.keys(peer.zones).length && zone.serial != null && theirs !== zone.serial) differing.push(`${zone.zone}: ${status.id} has serial ${zone.serial}, ${host(peer.peer)} ${theirs == null ? "does not serve it" : theirs}`);
    }
  }
  put($("instance-rows"), ...rows);
  put($("disagreements"), ...differing.slice(0, 50).map((text) => make("li", {}, `⚠ ${text}`)));
}

// ------------------------------------------------------------------------------------------------ traffic

function takeTraffic(body) {
  const last = state.seconds.at(-1);
  if (last && body.seconds.length && body.seconds[0].at <= last.at) state.seconds = [];
  state.seconds = [...state.seconds, ...body.seconds].filter((each) => each.at > body.at - WINDOW_SECONDS - 1);
  state.traffic = body;
  showFacts();
  showTraffic();
  showQueries();
  showLegend();
}

function showTraffic() {
  const { seconds, traffic } = state;
  chart("queries", "q/s", [{ name: "queries a second", values: seconds.map((each) => each.queries) }], count);
  const names = new Map();
  for (const each of seconds) for (const [name, number] of Object.entries(each.rcodes)) names.set(name, (names.get(name) || 0) + number);
  const most = [...names].sort((one, other) => other[1] - one[1]).slice(0, 4).map(([name]) => name);
  chart("rcodes", "rcodes", most.map((name) => ({ name, values: seconds.map((each) => each.rcodes[name] || 0) })), count);
  chart("latency", "latency", [
    { name: "p50", values: seconds.map((each) => each.p50_us) },
    { name: "p99", values: seconds.map((each) => each.p99_us) },
  ], micros);
  const total = traffic.places.reduce((sum, each) => sum + each.queries, 0);
  const rows = traffic.places.slice(0, 7).map((each) => {
    const share = each.queries / total;
    const bar = draw("svg", { class: "meter", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, draw("rect", { width: Math.max(100 * share, 0.5), height: 8 }));
    return make("tr", {}, make("th", { scope: "row" }, placeName(each.place)), make("td", { class: "number" }, percent(share)), make("td", {}, bar));
  });
  if (!rows.length) rows.push(make("tr", {}, make("td", { colspan: 3, class: "hint" }, "No query in the last minutes.")));
  put($("from"), ...rows);
}

function placeName(code) {
  if (!code) return "unknown";
  const country = code.split("-")[1];
  return state.map?.countries[code]?.name || (country ? REGIONS.of(country) : code);
}

function chart(id, what, lines, told) {
  const box = $(`chart-${id}`);
  const all = lines.flatMap((line) => line.values).filter((value) => value != null);
  const most = nice(Math.max(...all, 1));
  const newest = lines.map((line) => [line.name, line.values.findLast((value) => value != null)]);
  const key = newest.map(([name, value], at) => {
    const sample = draw("svg", { viewBox: "0 0 20 8", "aria-hidden": "true" }, draw("path", { d: "M0 4h20", class: `l${at}`, fill: "none", "stroke-width": 2 }));
    return make("span", {}, sample, ` ${name} `, make("b", {}, value == null ? "–" : told(value)));
  });
  put(box.querySelector("figcaption"), ...(key.length ? key : ["no query yet"]));
  const now = state.seconds.at(-1)?.at ?? 0;
  const shown = Math.max(60, Math.min(WINDOW_SECONDS, now - (state.seconds[0]?.at ?? now)));
  const x = (at) => (300 * (1 - (now - state.seconds[at].at) / shown)).toFixed(1);
  const y = (value) => (98 - (94 * value) / most).toFixed(1);
  const paths = lines.flatMap((line, at) => {
    let open = false;
    const steps = line.values.map((value, i) => {
      if (value == null) { open = false; return ""; }
      const step = `${open ? "L" : "M"}${x(i)} ${y(value)}`;
      open = true;
      return step;
    }).join("");
    if (!steps) return [];
    const path = draw("path", { d: steps, class: `l${at}` });
    if (at || id === "latency") return [path];
    return [draw("path", { d: `${steps}L300 98L${x(0)} 98z`, class: `area l0` }), path];
  });
  const grid = [98, 51, 4].map((at) => draw("line", { x1: 0, x2: 300, y1: at, y2: at }));
  const summary = `${what} in the last five minutes: ${newest.map(([name, value]) => `${name} now ${value == null ? "unknown" : told(value)}`).join(", ")}; the top of the chart is ${told(most)}`;
  const next = draw("svg", { class: "chart", viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img", "aria-label": summary }, ...grid, ...paths);
  const axis = make("div", { class: "axis", "aria-hidden": "true" }, make("span", {}, `${span(shown)} ago`), make("span", {}, `top ${told(most)}`), make("span", {}, "now"));
  for (const old of box.querySelectorAll(".chart, .axis")) old.remove();
  box.append(next, axis);
}

/** The next 1, 2 or 5 times a power of ten. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value);
}

// -------------------------------------------------------------------------------------------------- zones

function showZones() {
  const zones = state.zones.zones;
  const shown = zones.toSorted((one, other) => (one.state === "served") - (other.state === "served")).slice(0, ROWS_MAX);
  const rows = shown.map((zone) => {
    const words = { served: "● served", stale: "⚠ an older version is served", failed: "▼ SERVFAIL: no good version" };
    const problems = zone.problems.map((problem) => make("li", {}, `${problem.line}:${problem.column}: ${problem.where} ${problem.what}${problem.hint ? ` (${problem.hint})` : ""}`));
    return make("tr", { class: zone.state === "failed" ? "bad" : null },
      make("th", { scope: "row" }, zone.zone),
      make("td", { class: "number" }, zone.serial == null ? "" : String(zone.serial)),
      make("td", { class: "number" }, zone.records == null ? "" : count(zone.records)),
      make("td", {}, make("span", { class: `state ${zone.state === "served" ? "" : zone.state === "stale" ? "warn" : "bad"}` }, words[zone.state] || zone.state),
        problems.length ? make("ul", { class: "problems" }, ...problems) : null));
  });
  if (shown.length < zones.length) rows.push(make("tr", {}, make("td", { colspan: 4, class: "hint" }, `and ${count(zones.length - shown.length)} more, all of them served`)));
  put($("zone-rows"), ...rows);
  const names = zones.map((zone) => zone.zone);
  if ([...$("zone").options].map((option) => option.value).join() !== names.join()) {
    const chosen = $("zone").value || new URLSearchParams(location.hash.slice(1)).get("zone");
    $("zone").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    if (names.includes(chosen)) $("zone").value = chosen;
    chooseZone();
  }
  showFacts();
}

async function chooseZone() {
  const zone = $("zone").value;
  if (!zone) return;
  try {
    const { body } = await ask(`${zonePath(zone)}/records?limit=5000`);
    state.records = body.records.filter((record) => !["SOA", "NS"].includes(record.type) || record.steered);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(error.message);
    state.records = [];
  }
  state.records.sort((one, other) => other.steered - one.steered);
  const wanted = new URLSearchParams(location.hash.slice(1)).get("record");
  const group = (label, records) => records.length ? [make("optgroup", { label }, ...records.map((record) => make("option", { value: `${record.name} ${record.type}` }, `${record.name} ${record.type}`)))] : [];
  $("record").replaceChildren(...group("By place", state.records.filter((record) => record.steered)), ...group("The same for all", state.records.filter((record) => !record.steered)));
  if ([...$("record").options].some((option) => option.value === wanted)) $("record").value = wanted;
  chooseRecord();
}

function chooseRecord() {
  history.replaceState(null, "", `#${new URLSearchParams({ zone: $("zone").value, record: $("record").value })}`);
  state.colours.clear();
  state.edit = null;
  state.placing = null;
  if (!$("edit").hidden) openEdit();
  polls.map.now();
}

function chosen() {
  const [name, type] = $("record").value.split(" ");
  return name ? recordOf(name, type) : null;
}

/** A record of the chosen zone. */
function recordOf(name, type) {
  const zone = $("zone").value;
  return { zone, name, type, full: name === "@" ? zone : `${name}.${zone}` };
}

function mapPath() {
  const record = chosen();
  return record && `/v1/map?${new URLSearchParams({ name: record.full, type: record.type })}`;
}

$("zone").addEventListener("change", chooseZone);
$("record").addEventListener("change", chooseRecord);
$("filter").addEventListener("input", () => state.status && showValues());
$("show-queries").addEventListener("change", showQueries);

// ---------------------------------------------------------------------------------------------------- map

/** The projection of the outlines (Natural Earth), and back. */
const SCALE = 2000 / (2 * 0.8707 * Math.PI);

function project(latitude, longitude) {
  const lam = (longitude * Math.PI) / 180, phi = (latitude * Math.PI) / 180, two = phi * phi, four = two * two;
  return [
    1000 + SCALE * lam * (0.8707 - 0.131979 * two + four * (-0.013791 + four * (0.003971 * two - 0.001529 * four))),
    -SCALE * phi * (1.007226 + two * (0.015085 + four * (-0.044475 + 0.028874 * two - 0.005916 * four))),
  ];
}

function unproject(x, y) {
  let low = -90, high = 90;
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (project(middle, 0)[1] > y) low = middle;
    else high = middle;
  }
  const wide = project(low, 180)[0] - 1000;
  return [low, (180 * (x - 1000)) / wide];
}

async function loadMap() {
  const text = await (await fetch("/assets/world.svg")).text();
  const svg = document.importNode(new DOMParser().parseFromString(text, "image/svg+xml").documentElement, true);
  const lands = [...svg.querySelectorAll("[id]")];
  lands.sort((one, other) => (one.localName === "circle") - (other.localName === "circle"));
  const group = draw("g", { role: "listbox", "aria-label": "Countries", id: "lands" });
  for (const land of lands) {
    state.shapes.set(land.id, land);
    land.setAttribute("class", "land");
    land.setAttribute("role", "option");
    land.setAttribute("aria-selected", "false");
    land.setAttribute("aria-label", REGIONS.of(land.id));
    land.setAttribute("tabindex", "-1");
    group.append(land);
  }
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", "World map");
  svg.prepend(draw("defs", { id: "patterns" }));
  svg.append(group, draw("g", { id: "marks", "aria-hidden": "true" }), draw("path", { class: "ring", id: "ring-selected" }), draw("path", { class: "ring focus", id: "ring-focused" }));
  $("map").replaceChildren(svg);
  focusable(state.shapes.get("DE"));
  group.addEventListener("click", (event) => event.target.id && !state.placing && pick(event.target.id));
  svg.addEventListener("click", place);
  group.addEventListener("keydown", mapKey);
  group.addEventListener("pointermove", (event) => tip(event.target, event.clientX, event.clientY));
  group.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  if (state.map) showMap();
}

// At the element around the map: Chromium lets an SVG element have the focus that only listens for it.
$("map").addEventListener("focusin", (event) => { if (event.target.classList.contains("land")) { focusable(event.target); tipAt(event.target); } });
$("map").addEventListener("focusout", () => { if ($("ring-focused")) ring("focused", null); $("tip").hidden = true; });

function focusable(land) {
  for (const each of state.shapes.values()) if (each.getAttribute("tabindex") === "0") each.setAttribute("tabindex", "-1");
  land.setAttribute("tabindex", "0");
  if (document.activeElement === land) ring("focused", land);
}

function ring(which, land) {
  const d = !land ? "" : land.localName === "path" ? land.getAttribute("d") : circle(+land.getAttribute("cx"), +land.getAttribute("cy"), 9);
  $(`ring-${which}`).setAttribute("d", d);
}

const circle = (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;

function middle(land) {
  const country = countryOf(land.id);
  if (country?.latitude != null) return project(country.latitude, country.longitude);
  const box = land.getBBox();
  return [box.x + box.width / 2, box.y + box.height / 2];
}

function codeOf(id) {
  return Object.keys(state.map?.countries || {}).find((code) => code.endsWith(`-${id}`));
}

function countryOf(id) {
  const code = codeOf(id);
  return code && state.map.countries[code];
}

function mapKey(event) {
  const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (towards) {
    const next = nearest(event.target, towards);
    if (next) next.focus();
  } else if (event.key === "Enter" || event.key === " ") {
    if (state.placing) placeAt(...middle(event.target));
    else pick(event.target.id);
  } else if (event.key.length === 1 && /\p{L}/u.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const names = [...state.shapes.values()].sort((one, other) => one.getAttribute("aria-label").localeCompare(other.getAttribute("aria-label")));
    const at = names.indexOf(event.target);
    const next = [...names.slice(at + 1), ...names.slice(0, at)].find((land) => land.getAttribute("aria-label").toLowerCase().startsWith(event.key.toLowerCase()));
    if (next) next.focus();
  } else return;
  event.preventDefault();
}

/** The country in this direction that is the least far, and the least aside. */
function nearest(from, [dx, dy]) {
  const [x, y] = middle(from);
  let best = null, least = Infinity;
  for (const land of state.shapes.values()) {
    const [to_x, to_y] = middle(land);
    const along = (to_x - x) * dx + (to_y - y) * dy;
    const aside = Math.abs((to_x - x) * dy) + Math.abs((to_y - y) * dx);
    if (land === from || along <= 0 || aside > 2 * along) continue;
    if (along + 2 * aside < least) [best, least] = [land, along + 2 * aside];
  }
  return best;
}

function answerOf(country) {
  return `${country.pool || "own values"}: ${country.values.join(", ") || "no record"}`;
}

function mixed(country) {
  return country.parts.map((part) => `${percent(part.share)} ${part.pool || "own values"}`).join(", ");
}

function about(id) {
  const country = countryOf(id);
  if (!country) return state.map && !Object.keys(state.map.countries).length ? "gets what everybody gets" : "no address is known there";
  return country.mixed ? `mixed: ${mixed(country)}` : answerOf(country);
}

function tip(land, x, y) {
  if (!land.id) return;
  const country = countryOf(land.id);
  put($("tip"), make("b", {}, country?.name || REGIONS.of(land.id)), about(land.id), ...(country ? [make("br"), country.why] : []));
  $("tip").hidden = false;
  const width = $("tip").offsetWidth;
  $("tip").style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
  $("tip").style.top = `${Math.min(y + 14, innerHeight - $("tip").offsetHeight - 8)}px`;
}

function tipAt(land) {
  const box = land.getBoundingClientRect();
  tip(land, box.left + Math.min(box.width, 60), box.top + Math.min(box.height, 60));
}

// Colours: by pool, in the order of the record; a texture tells those apart whom the colour does not.

function colourOf(pool) {
  if (!pool) return null;
  if (!state.colours.has(pool)) state.colours.set(pool, state.colours.size);
  return state.colours.get(pool);
}

const TEXTURES = [
  "", "M0 3h12M0 9h12", "M3 3h.1M9 9h.1", "M3 0v12M9 0v12", "M0 12L12 0M-3 3L3-3M9 15L15 9", "M0 6h12M6 0v12", "M0 0L12 12M-3 9L3 15M9-3L15 3", "M2 6h4M8 0h4M8 12h4",
];

function pattern(colour) {
  const id = `pool-${colour}`;
  if (!$(id)) {
    const box = draw("pattern", { id, width: 12, height: 12, patternUnits: "userSpaceOnUse" },
      draw("rect", { width: 12, height: 12, fill: `var(--p${colour % COLOURS})` }),
      draw("path", { d: TEXTURES[(colour + Math.floor(colour / COLOURS)) % TEXTURES.length], stroke: "var(--texture)", "stroke-width": colour % 8 === 2 ? 3.4 : 1.5, "stroke-linecap": "round", fill: "none" }));
    $("patterns").append(box);
  }
  return `url(#${id})`;
}

/** Broad stripes of the two largest parts. */
function stripes(one, other) {
  const id = `mixed-${one}-${other}`;
  if (!$(id)) {
    const fill = (colour) => (colour == null ? "var(--land)" : `var(--p${colour % COLOURS})`);
    $("patterns").append(draw("pattern", { id, width: 20, height: 20, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      draw("rect", { width: 20, height: 20, fill: fill(one) }), draw("rect", { width: 7, height: 20, fill: fill(other) })));
  }
  return `url(#${id})`;
}

function fillOf(country) {
  if (country.mixed) {
    const [one, other] = country.parts.map((part) => colourOf(part.pool));
    if (one !== other) return stripes(one, other);
  }
  const colour = colourOf(country.pool);
  return colour == null ? "" : pattern(colour);
}

function showMap() {
  const { map } = state;
  if (!state.shapes.size) return;
  for (const pool of Object.keys(map.pools)) colourOf(pool);
  const byId = new Map(Object.entries(map.countries).map(([code, country]) => [code.split("-")[1], country]));
  for (const [id, land] of state.shapes) {
    const country = byId.get(id);
    const fill = country ? fillOf(country) : "";
    if ((land.getAttribute("fill") || "") !== fill) {
      if (fill) land.setAttribute("fill", fill);
      else land.removeAttribute("fill");
    }
    land.classList.toggle("plain", !fill);
    const label = country ? `${country.name}: ${about(id)}` : `${REGIONS.of(id)}: ${about(id)}`;
    if (land.getAttribute("aria-label") !== label) land.setAttribute("aria-label", label);
  }
  if (!$("places").childElementCount) $("places").replaceChildren(...Object.values(map.countries).map((country) => make("option", { value: country.name })));
  for (const [code, country] of Object.entries(map.countries)) state.examples.set(code, country);
  const everybody = Object.keys(map.countries).length ? `Addresses without a place get ${answerOf(map.default)}.` : map.rcode === "NOERROR" ? `Everybody gets ${map.default.values.join(", ") || "no record of this type"}.` : `Everybody gets ${map.rcode}.`;
  const steered = map.steered && map.steered !== map.record ? ` It leads to ${map.steered}.` : "";
  const said = everybody + steered;
  if ($("world-said").textContent !== said) $("world-said").textContent = said;
  showLegend();
  showSites();
  showCountries();
  if (state.traffic) showTraffic();
  showQueries();
}

function showCountries() {
  if (!state.map || !$("as-table").open) return;
  const rows = Object.values(state.map.countries).sort((one, other) => one.name.localeCompare(other.name)).map((country) => make("tr", {},
    make("th", { scope: "row" }, country.name),
    make("td", {}, country.parts.length ? `mixed: ${mixed(country)}` : country.pool || "own values"),
    make("td", {}, country.values.join(", ")),
    make("td", {}, country.why)));
  put($("countries"), ...rows);
}

$("as-table").addEventListener("toggle", showCountries);

function showLegend() {
  if (!state.map || !$("patterns")) return;
  const zone = $("zone").value;
  const asked = new Map((state.traffic?.pools || []).filter((each) => each.zone === zone).map((each) => [each.pool, each.queries]));
  const number = new Map();
  for (const country of Object.values(state.map.countries)) number.set(country.pool, (number.get(country.pool) || 0) + 1);
  const entry = (pool, words, is_down) => {
    const colour = colourOf(pool);
    const swatch = draw("svg", { viewBox: "0 0 36 24", "aria-hidden": "true" }, draw("rect", { width: 36, height: 24, fill: colour == null ? "var(--land)" : pattern(colour) }));
    const hints = [words, plural(number.get(pool) || 0, "country").replace("countrys", "countries")];
    if (asked.get(pool)) hints.push(`${count(asked.get(pool))} answers`);
    return make("li", {}, swatch, make("b", {}, pool || "own values"), is_down ? make("span", { class: "state bad" }, "▼ down") : null, make("span", { class: "hint" }, hints.filter(Boolean).join(", ")));
  };
  const entries = Object.entries(state.map.pools).map(([pool, site]) => entry(pool, site.down.length ? `${site.values.length} of ${site.values.length + site.down.length} values up` : "", !site.is_up));
  if (number.get("")) entries.push(entry("", "", false));
  put($("legend"), ...entries);
}

function showSites() {
  const marks = [];
  const sites = state.edit ? drafts() : Object.entries(state.map.pools);
  for (const [pool, site] of sites) {
    let at = site.latitude == null ? null : project(site.latitude, site.longitude);
    if (!at) {
      const largest = [...state.shapes.values()].filter((land) => countryOf(land.id)?.pool === pool).map((land) => [land.getBBox(), land]).sort(([one], [other]) => other.width * other.height - one.width * one.height)[0];
      if (!largest) continue;
      at = middle(largest[1]);
    }
    const mark = draw("g", { class: `site${site.is_up === false ? " down" : ""}${state.edit ? " draft" : ""}`, transform: `translate(${at[0].toFixed(0)} ${at[1].toFixed(0)})` });
    if (site.latitude != null) mark.append(draw("circle", { r: 8 }));
    mark.append(draw("text", { x: site.latitude != null ? 14 : 0, y: 9, "text-anchor": site.latitude != null ? "start" : "middle" }, pool + (site.is_up === false ? " ▼" : "")));
    marks.push(mark);
  }
  for (const old of $("marks").querySelectorAll(".site")) old.remove();
  $("marks").append(...marks);
}

function showQueries() {
  if (!$("marks")) return;
  for (const old of $("marks").querySelectorAll(".query")) old.remove();
  const places = state.traffic?.places || [];
  const total = places.reduce((sum, each) => sum + each.queries, 0);
  if (!$("show-queries").checked) return;
  const marks = [];
  for (const each of places) {
    const land = state.shapes.get(each.place.split("-")[1]);
    if (!land) continue;
    const [x, y] = middle(land);
    marks.push(draw("circle", { class: "query", cx: x.toFixed(0), cy: y.toFixed(0), r: (4 + 60 * Math.sqrt(each.queries / total)).toFixed(1) }));
  }
  $("marks").prepend(...marks);
}

// ---------------------------------------------------------------------------------------------------- ask

function pick(id) {
  const country = countryOf(id);
  for (const land of state.shapes.values()) land.setAttribute("aria-selected", land.id === id);
  ring("selected", state.shapes.get(id));
  if (!country) {
    put($("asked"), make("p", {}, state.map && Object.keys(state.map.countries).length ? "No address is known there." : "Everybody gets the same answer."));
    return;
  }
  openTab("ask");
  $("who").value = country.name;
  explain(country.example, country);
}

$("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const who = $("who").value.trim();
  if (!who) return;
  const sought = who.toLowerCase();
  const found = [...state.examples].find(([code, country]) => country.name.toLowerCase() === sought || code.toLowerCase() === sought || code.toLowerCase().endsWith(`-${sought}`));
  if (found) {
    const land = state.shapes.get(found[0].split("-")[1]);
    if (land) { for (const each of state.shapes.values()) each.setAttribute("aria-selected", each === land); ring("selected", land); }
    explain(found[1].example, state.map.countries[found[0]] || null);
  } else explain(who, null);
});

async function explain(address, country) {
  const record = chosen();
  if (!record) return;
  try {
    const { body } = await ask(`/v1/explain?${new URLSearchParams({ name: record.full, type: record.type, from: address })}`);
    const answer = make("div", { class: "answer" },
      make("p", {}, make("b", {}, body.answer.length ? body.answer.filter((line) => !/^(authority|additional): /.test(line)).map((line) => line.split(/\s+/).slice(4).join(" ")).join(", ") || body.rcode : body.rcode)),
      make("p", { class: "hint" }, `${body.question} for ${body.client}${country ? ` in ${country.name}` : ""}: ${body.rcode}${body.scope == null ? "" : `, ECS scope /${body.scope}`}`));
    const parts = country && country.parts.length ? [make("h3", {}, "This country is divided"), make("ul", { class: "steps" }, ...country.parts.map((part) =>
      make("li", {}, make("b", {}, percent(part.share)), make("span", {}, `${part.pool || "own values"}: ${part.values.join(", ")} (${part.why})${part.places.length ? `; ${part.places.map((code) => code.split("-").slice(2).join("-")).join(" ")}` : ""}`))))] : [];
    const steps = make("ul", { class: "steps" }, ...body.steps.map((step) => make("li", { class: `deep${Math.min(step.depth, 2)}` }, make("b", {}, step.about), make("span", {}, step.said))));
    const why = make("div", { id: "why", tabindex: "0", role: "region", "aria-label": "Why" }, ...parts, make("h3", {}, "Why"), steps);
    put($("asked"), answer, why);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    put($("asked"), make("p", { class: "problems" }, error.message));
  }
}

// --------------------------------------------------------------------------------------------------- tabs

function openTab(name) {
  for (const each of ["ask", "edit"]) {
    $(`tab-${each}`).setAttribute("aria-selected", each === name);
    $(`tab-${each}`).setAttribute("tabindex", each === name ? "0" : "-1");
    $(each).hidden = each !== name;
  }
  if (name === "ask") { state.edit = null; state.placing = null; $("map").classList.remove("placing"); if (state.map) showSites(); }
}

for (const name of ["ask", "edit"]) {
  $(`tab-${name}`).addEventListener("click", () => { openTab(name); if (name === "edit") openEdit(); });
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "ask" ? "edit" : "ask";
    $(`tab-${other}`).focus();
    $(`tab-${other}`).click();
  });
}

// --------------------------------------------------------------------------------------------------- edit

const zonePath = (zone) => `/v1/zones/${encodeURIComponent(zone.replace(/\.$/, ""))}`;
const recordPath = (record) => `${zonePath(record.zone)}/records/${encodeURIComponent(record.name)}/${record.type}`;

async function openEdit() {
  const record = chosen();
  $("edited").replaceChildren();
  if (!record) { $("edit-form").replaceChildren(); return; }
  try {
    const { body, etag } = await ask(recordPath(record));
    state.edit = { record, etag };
    editAs(body.record);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    state.edit = null;
    put($("edit-form"), make("p", { class: "problems" }, error.message));
  }
}

/** Go on with the record as this says it. */
function editAs(was) {
  state.edit.was = was;
  state.edit.pools = structuredClone(was.dynamic?.pools || {});
  showForm(was);
  if (state.map) showSites();
}

const STEERABLE = ["A", "AAAA", "CNAME"];  // what pools can stand in for
const isPlain = (value) => typeof value !== "object";
const lineOf = (value) => (isPlain(value) ? String(value) : "value" in value && isPlain(value.value) ? [value.value, value.weight].filter((part) => part != null).join(" ") : null);
const own = (record) => record.values ?? (record.value == null ? [] : [record.value]);
const NEW_TYPES = ["A", "AAAA", "CNAME", "ALIAS", "MX", "TXT", "SRV", "CAA", "HTTPS", "SVCB", "NAPTR", "PTR", "SSHFP", "TLSA"];
$("new-type").append(...NEW_TYPES.map((type) => make("option", {}, type)));

function field(label, input) {
  return make("label", {}, label, input);
}

function showForm(record) {
  const parts = [make("p", { class: "hint" }, `${state.edit.record.full} ${state.edit.record.type}`), field("TTL (seconds)", make("input", { id: "f-ttl", inputmode: "numeric", value: record.ttl ?? "" }))];
  if (own(record).every(isPlain)) parts.push(field(record.dynamic || record.geo ? "Values for everybody else, one a line" : "Values, one a line", area("f-values", own(record))));
  if (record.geo) {
    parts.push(make("fieldset", {}, make("legend", {}, "By place"), ...Object.entries(record.geo).map(([code, values]) => field(code, area(`f-geo-${code}`, [].concat(values))))));
  }
  if (record.dynamic || (!record.geo && STEERABLE.includes(state.edit.record.type))) parts.push(poolsForm());
  if (record.dynamic) {
    const rules = record.dynamic.rules || [];
    parts.push(make("fieldset", {}, make("legend", {}, "Rules: who, and which pool"), ...rules.map(ruleForm), make("div", { class: "row" }, action("Add a rule", addRule, { id: "f-rule" }))));
  }
  parts.push(make("details", {}, make("summary", {}, "As JSON, with all that the form has not"),
    make("textarea", { id: "f-json", rows: 10, spellcheck: "false", "aria-label": "The record as JSON" }, JSON.stringify(record, null, 1)),
    make("p", { class: "hint" }, "What is changed here counts before the fields above.")));
  const remove = state.edit.isNew ? [] : [action("Take the record out", () => showChange(null), { id: "f-remove" })];
  parts.push(make("div", { class: "row" }, make("button", { class: "main" }, "Show the change"), ...remove));
  $("edit-form").replaceChildren(...parts);
  state.edit.json = $("f-json").value;
}

function area(id, values) {
  return make("textarea", { id, rows: Math.min(Math.max(values.length, 1) + 1, 6), spellcheck: "false" }, values.join("\n"));
}

/** A button of the form that does something to the record. */
function action(text, does, more = {}) {
  return make("button", { type: "button", onclick: does, ...more }, text);
}

function poolsForm() {
  const name = make("input", { id: "f-new", "aria-label": "Name of a new pool", placeholder: "lhr", onkeydown: (event) => {
    if (event.key === "Enter") { event.preventDefault(); addPool(); }
  } });
  return make("fieldset", {}, make("legend", {}, "Pools"), ...Object.entries(state.edit.pools).map(poolForm), make("div", { class: "row" }, name, action("Add a pool", addPool, { id: "f-add" })));
}

function ruleForm(rule, at) {
  const which = `Rule ${at + 1}`;
  return make("div", { class: "rule" },
    make("input", { id: `f-who-${at}`, "aria-label": `${which}: places, subnets or AS numbers`, placeholder: "everybody else", value: [...(rule.subnets || []), ...(rule.asns || []).map((asn) => `AS${asn}`), ...(rule.geos || [])].join(" ") }),
    make("input", { id: `f-pool-${at}`, "aria-label": `${which}: pool`, value: rule.pool ?? (rule.pools || []).join(" ") }),
    make("span", { class: "hint" }, rule.nearest ? "near" : rule.share ? String(rule.share) : ""),
    action("↑", () => moveRule(at), { id: `f-up-${at}`, "aria-label": `${which}: before the one above`, disabled: !at }),
    action("✕", () => removeRule(at), { id: `f-off-${at}`, "aria-label": `${which}: take out` }));
}

/** Go on with what the form says and with a change of it, which tells where the focus goes then. */
function reshape(change) {
  try {
    const record = formed();
    const focus = change(record, record.dynamic?.rules || []);
    editAs(record);
    $(focus).focus();
  } catch (error) { noJson(error); }
}

function addPool() {
  const name = $("f-new").value.trim();
  if (!name || name in state.edit.pools) { $("f-new").focus(); return; }
  reshape((record) => {
    record.dynamic ??= {};
    (record.dynamic.pools ??= {})[name] = { values: [] };
    record.dynamic.rules ??= [{ pool: name }];
    return `f-pv-${name}`;
  });
}

/** With the last pool, if no rule names another one, the record is steered no more. */
function removePool(name) {
  reshape((record, rules) => {
    delete record.dynamic.pools[name];
    if (!Object.keys(record.dynamic.pools).length && rules.every((rule) => rule.pool === name)) delete record.dynamic;
    return "f-new";
  });
}

/** In front of the rule that takes everybody else, if there is one. */
function addRule() {
  reshape((record, rules) => {
    const last = rules.at(-1);
    const at = last && !last.geos && !last.subnets && !last.asns ? rules.length - 1 : rules.length;
    record.dynamic.rules = rules.toSpliced(at, 0, { pool: Object.keys(state.edit.pools)[0] ?? "" });
    return `f-who-${at}`;
  });
}

function moveRule(at) {
  reshape((_, rules) => { rules.splice(at - 1, 2, rules[at], rules[at - 1]); return `f-who-${at - 1}`; });
}

function removeRule(at) {
  reshape((_, rules) => { rules.splice(at, 1); return rules.length ? `f-who-${Math.min(at, rules.length - 1)}` : "f-rule"; });
}

function poolForm([name, pool]) {
  const lines = (pool.values || []).map(lineOf);
  const where = typeof pool.location === "string" ? pool.location : pool.location ? `${pool.location.lat}, ${pool.location.lon}` : "";
  return make("div", { class: "pool" },
    lines.every((line) => line != null) ? make("label", { class: "wide" }, `${name}: values, with their weights`, area(`f-pv-${name}`, lines)) : make("p", { class: "hint wide" }, `${name}: values as JSON below`),
    field("Falls back to", make("input", { id: `f-fb-${name}`, "aria-label": `${name}: falls back to`, value: pool.fallback ?? "" })),
    field("Where it is", make("input", { id: `f-at-${name}`, "aria-label": `${name}: latitude, longitude or geo code`, placeholder: "50.1, 8.7", value: where, oninput: () => showSites() })),
    action(`Place ${name} on the map`, () => startPlacing(name)),
    action(`Take ${name} out`, () => removePool(name), { id: `f-rm-${name}` }));
}

function startPlacing(name) {
  state.placing = name;
  $("map").classList.add("placing");
  put($("edited"), make("p", {}, `Click where ${name} is, or move to a country with the arrow keys and press Enter.`));
  $("lands").querySelector("[tabindex='0']").focus();
}

function place(event) {
  if (!state.placing) return;
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(event.currentTarget.getScreenCTM().inverse());
  placeAt(point.x, point.y);
}

function placeAt(x, y) {
  const [latitude, longitude] = unproject(x, y);
  const input = $(`f-at-${state.placing}`);
  input.value = `${latitude.toFixed(1)}, ${longitude.toFixed(1)}`;
  state.placing = null;
  $("map").classList.remove("placing");
  put($("edited"), make("p", {}, `Placed at ${input.value}.`));
  input.focus();
  showSites();
}

/** The pools as the form has them. */
function drafts() {
  return Object.keys(state.edit.pools).map((name) => {
    const found = $(`f-at-${name}`)?.value.split(",").map(Number);
    const known = found?.length === 2 && found.every(Number.isFinite);
    const served = state.map.pools[name];
    return [name, known ? { latitude: found[0], longitude: found[1] } : { latitude: served?.latitude, longitude: served?.longitude }];
  });
}

/** The record that the form says: what was read, with what was changed. */
function formed() {
  const { edit } = state;
  if ($("f-json").value !== edit.json) return JSON.parse($("f-json").value);
  const record = structuredClone(edit.was);
  const ttl = $("f-ttl").value.trim();
  if (ttl === "") delete record.ttl;
  else record.ttl = Number(ttl);
  const lines = (id) => $(id).value.split("\n").map((line) => line.trim()).filter(Boolean);
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  if ($("f-values")) {
    const values = lines("f-values");
    if (!same(values, own(record).map(String))) {
      if ("value" in record && values.length === 1) record.value = values[0];
      else { delete record.value; record.values = values; }
    }
  }
  for (const code of Object.keys(record.geo || {})) {
    const values = lines(`f-geo-${code}`);
    if (!same(values, [].concat(record.geo[code]).map(String))) record.geo[code] = values;
  }
  for (const [name, pool] of Object.entries(record.dynamic?.pools || {})) formPool(name, pool, lines);
  (record.dynamic?.rules || []).forEach(formRule);
  return record;
}

function formPool(name, pool, lines) {
  if ($(`f-pv-${name}`)) {
    const before = pool.values || [];
    pool.values = lines(`f-pv-${name}`).map((line) => {
      const old = before.find((value) => lineOf(value) === line);
      if (old !== undefined) return old;
      const [, text, weight] = line.match(/^(.*?)(?:\s+(\d+))?$/);
      const known = before.find((value) => !isPlain(value) && String(value.value) === text);
      if (weight == null && !known) return before.length && before.every(isPlain) ? text : { value: text };
      return { ...known, value: text, ...(weight == null ? {} : { weight: Number(weight) }) };
    });
  }
  const fallback = $(`f-fb-${name}`).value.trim();
  if (fallback !== String(pool.fallback ?? "")) {
    if (fallback) pool.fallback = fallback;
    else delete pool.fallback;
  }
  const where = $(`f-at-${name}`).value.trim();
  const was = typeof pool.location === "string" ? pool.location : pool.location ? `${pool.location.lat}, ${pool.location.lon}` : "";
  if (where !== was) {
    const [lat, lon] = where.split(",").map((part) => Number(part));
    if (!where) delete pool.location;
    else pool.location = Number.isFinite(lat) && Number.isFinite(lon) ? { lat, lon } : where;
  }
}

function formRule(rule, at) {
  const who = $(`f-who-${at}`).value.trim().split(/[\s,]+/).filter(Boolean);
  const kinds = { subnets: who.filter((each) => /[/:]/.test(each)), asns: who.filter((each) => /^(AS)?\d+$/i.test(each)).map((each) => Number(each.replace(/\D/g, ""))), geos: who.filter((each) => !/[/:]/.test(each) && !/^(AS)?\d+$/i.test(each)) };
  for (const [kind, found] of Object.entries(kinds)) {
    if (found.length) rule[kind] = found;
    else delete rule[kind];
  }
  const pools = $(`f-pool-${at}`).value.trim().split(/[\s,]+/).filter(Boolean);
  if ("pool" in rule && pools.length === 1) rule.pool = pools[0];
  else if (JSON.stringify(pools) !== JSON.stringify(rule.pools ?? (rule.pool == null ? [] : [rule.pool]))) { delete rule.pool; rule.pools = pools; }
}

$("new-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const record = recordOf($("new-name").value.trim(), $("new-type").value);
  try {
    const known = await ask(recordPath(record)).catch((error) => { if (error.status !== 404) throw error; });
    const { etag } = known ?? await ask(`${zonePath(record.zone)}/records?limit=1`);
    $("new").open = false;
    $("edited").replaceChildren();
    if (known) { await openRecord(record.zone, known.body); return; }
    state.edit = { record, etag, isNew: true };
    editAs({ type: record.type, values: [] });
    $("f-values").focus();
  } catch (error) { refused(error); }
});

/** Choose a record, which has its form opened. */
async function openRecord(zone, { name, type }) {
  history.replaceState(null, "", `#${new URLSearchParams({ zone, record: `${name} ${type}` })}`);
  await chooseZone();
}

/** Put the record in its place, or with null take it out. */
async function write(is_dry) {
  const { edit } = state;
  const change = edit.now ? { method: "PUT", body: JSON.stringify(edit.now) } : { method: "DELETE" };
  return (await ask(recordPath(edit.record) + (is_dry ? "?dry_run=1" : ""), {
    ...change, headers: { "If-Match": edit.etag, "Content-Type": "application/json" },
  })).body;
}

$("edit-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!state.edit) return;
  try {
    showChange(formed());
  } catch (error) { noJson(error); }
});

/** What would change in the file, and the button that has it changed. */
async function showChange(record) {
  state.edit.now = record;
  try {
    const said = await write(true);
    const save = make("button", { type: "button", class: "main", id: "save", onclick: store }, "Save");
    const changed = said.diff.trim();
    $("edited").replaceChildren(...(changed ? [diffOf(said.diff)] : [make("p", {}, "Nothing is changed.")]), ...warnings(said.problems), ...(changed ? [make("div", { class: "row" }, save)] : []));
    if (changed) save.focus();
  } catch (error) { refused(error); }
}

async function store() {
  $("save").disabled = true;
  try {
    await write(false);
    const { record, now, isNew } = state.edit;
    state.edit = null;
    if (isNew || !now) await openRecord(record.zone, record);
    else await openEdit();
    put($("edited"), make("p", {}, now ? "Saved; it is served within two seconds." : `${record.full} ${record.type} is taken out, and gone within two seconds.`));
    polls.map.now();
  } catch (error) { refused(error); }
}

function noJson(error) {
  if (!(error instanceof SyntaxError)) throw error;
  put($("edited"), make("p", { class: "problems" }, `This is no JSON: ${error.message}`));
}

function refused(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 412) {
    $("edited").replaceChildren(make("p", { class: "problems" }, "Conflict: somebody else has changed the file since you opened it. Nothing was written."),
      make("button", { type: "button", onclick: openEdit }, "Read it again"));
    return;
  }
  $("edited").replaceChildren(make("p", { class: "problems" }, error.message), ...warnings(error.said.problems));
}

function warnings(problems = []) {
  return problems.length ? [make("ul", { class: "problems" }, ...problems.map((problem) => make("li", {}, `${problem.line}:${problem.column}: ${problem.where} ${problem.what}${problem.hint ? ` (${problem.hint})` : ""}`)))] : [];
}

function diffOf(text) {
  const kind = (line) => (line.startsWith("@@") ? "at" : line.startsWith("+++") || line.startsWith("---") ? "at" : line[0] === "+" ? "add" : line[0] === "-" ? "gone" : "");
  const pre = make("pre", { class: "diff", tabindex: "0", role: "region", "aria-label": "The change" });
  for (const line of text.trimEnd().split("\n")) pre.append(make("span", { class: kind(line) }, `${line}\n`));
  return pre;
}

loadMap();
begin();
live();
