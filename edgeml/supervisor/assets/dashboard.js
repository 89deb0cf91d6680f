// Asks the box for its panels and puts them in their places. All markup is made, and escaped, by the box.
"use strict";

const EVERY_MS = 4000; // while somebody looks
const HIDDEN_MS = 60000; // while nobody does
const LONGEST_MS = 60000; // between tries of a box that does not answer
const PATIENCE_MS = 20000;
const KEY = "edgeml.token";
const at = (id) => document.getElementById(id);
const known = document.documentElement.dataset.known === "yes";

let token = sessionStorage.getItem(KEY) || "";
let have = "";
let shown = "";
let chosen = "";
let failures = 0;
let timer = 0;
let asking = null;
let seen = null;

function headers(more) {
  return token ? { Authorization: "Bearer " + token, ...more } : { ...more };
}

function clock(date) {
  return date.toLocaleTimeString([], { hour12: false });
}

function say(id, text) {
  const place = at(id);
  // The same words again would be read out again.
  if (place.textContent !== text) place.textContent = text;
  if (id === "problem") place.hidden = !text;
}

// The model that the address names; the one that was chosen before, where it names another place of the page.
function wanted() {
  if (location.hash.startsWith("#model=")) {
    try {
      chosen = decodeURIComponent(location.hash.slice(7));
    } catch {
      chosen = "";
    }
  }
  return chosen;
}

function later(ms) {
  clearTimeout(timer);
  timer = setTimeout(refresh, document.hidden ? Math.max(ms, HIDDEN_MS) : ms);
}

async function told(response) {
  try {
    return (await response.json()).error || response.statusText;
  } catch {
    return response.statusText;
  }
}

async function refresh() {
  clearTimeout(timer);
  if (asking) asking.abort();
  if (!token && !known) return enter("");
  const mine = (asking = new AbortController());
  const late = setTimeout(() => mine.abort(), PATIENCE_MS);
  try {
    const query = new URLSearchParams({ model: wanted(), have });
    const response = await fetch("/v1/dashboard?" + query, { headers: headers(), signal: mine.signal, cache: "no-store" });
    if (mine !== asking) return;
    if (response.status === 401 || response.status === 403) return enter("The box refuses this token: " + (await told(response)));
    if (!response.ok) throw new Error("it answers with status " + response.status + ": " + (await told(response)));
    const answer = await response.json();
    if (mine !== asking) return;
    failures = 0;
    seen = new Date();
    show(answer);
    say("problem", "");
    say("status", "Connected; brought up to date every " + EVERY_MS / 1000 + " s.");
    at("main").classList.remove("old");
    later(EVERY_MS);
  } catch (error) {
    if (mine !== asking) return; // a newer question is under way
    failures += 1;
    const wait = Math.min(LONGEST_MS, EVERY_MS * 2 ** (failures - 1));
    const why = error.name === "AbortError" ? "no answer within " + PATIENCE_MS / 1000 + " s" : error.message;
    const old = seen ? " What is shown is of " + clock(seen) + "." : "";
    say("problem", "The box cannot be reached: " + why + "." + old + " It is tried again.");
    say("status", "Not connected.");
    at("main").classList.add("old");
    later(wait);
  } finally {
    clearTimeout(late);
    if (mine === asking) asking = null;
  }
}

function enter(why) {
  clearTimeout(timer);
  if (asking) asking.abort();
  asking = null; // what it still brings is not shown any more
  token = "";
  have = "";
  sessionStorage.removeItem(KEY);
  for (const id of ["main", "panel-models", "forget"]) at(id).hidden = true;
  for (const panel of document.querySelectorAll('[id^="panel-"]')) panel.replaceChildren();
  if (at("ask").open) at("ask").close();
  at("model-name").textContent = "";
  at("entry").hidden = false;
  say("problem", why);
  say("outcome", "");
  say("status", "Not connected.");
  at("token").focus();
}

function show(answer) {
  at("entry").hidden = true;
  at("forget").hidden = !token;
  for (const id of ["main", "panel-models"]) at(id).hidden = false;
  if (answer.model !== shown) {
    shown = answer.model;
    at("model-name").textContent = shown;
    document.title = shown ? shown + " – edgeml" : "edgeml";
  }
  have = answer.have;
  for (const [name, html] of Object.entries(answer.panels)) {
    const panel = at("panel-" + name);
    if (panel) replace(panel, html);
  }
}

// New markup in a place, with the focus, what is unfolded and what is scrolled kept.
function replace(panel, html) {
  const focused = panel.contains(document.activeElement) ? path(panel, document.activeElement) : null;
  const unfolded = [...panel.querySelectorAll("details[open]")].map((each) => each.dataset.open);
  const scrolled = [...panel.querySelectorAll(".wide")].map((each) => each.scrollLeft);
  panel.innerHTML = html;
  for (const each of panel.querySelectorAll("details")) each.open = unfolded.includes(each.dataset.open);
  panel.querySelectorAll(".wide").forEach((each, place) => (each.scrollLeft = scrolled[place] || 0));
  if (focused) refocus(panel, focused);
}

function path(panel, element) {
  const all = [...panel.querySelectorAll("a, button, summary, [tabindex]")];
  return { keep: element.dataset.keep, label: element.getAttribute("aria-label"), place: all.indexOf(element) };
}

function refocus(panel, { keep, label, place }) {
  const all = [...panel.querySelectorAll("a, button, summary, [tabindex]")];
  const same = (each) => (keep ? each.dataset.keep === keep : label && each.getAttribute("aria-label") === label);
  // What had the focus may be gone, such as a button that was used: its neighbour has it then, or the panel's section.
  const found = all.find(same) || all[Math.min(place, all.length - 1)] || at("main");
  found.focus({ preventScroll: true });
}

const ACTS = {
  confirm: (data) => ({
    title: "Confirm " + data.version + "?",
    text: data.called + " " + data.version + " becomes the release that answers; its trial ends.",
    yes: "Confirm " + data.version,
    path: "/v1/models/" + encodeURIComponent(data.model) + "/confirm",
    body: (reason) => ({ digest: data.digest, reason }),
    why: true,
  }),
  rollback: (data) => ({
    title: "Roll back to " + data.version + "?",
    text: "The release of " + data.called + " that answers now is left and denied on this box; " + data.version + " answers.",
    yes: "Roll back",
    path: "/v1/models/" + encodeURIComponent(data.model) + "/rollback",
    body: (reason) => ({ from: data.digest, reason }),
    why: true,
  }),
  acknowledge: (data) => ({
    title: "Acknowledge the alarm?",
    text: "The alarm of " + data.called + " has been seen; it is raised again only if it ends and comes back.",
    yes: "Acknowledge",
    path: "/v1/models/" + encodeURIComponent(data.model) + "/drift/acknowledge",
    body: () => ({ column: data.column }),
    why: false,
  }),
};
let asked = null;

function ask(button) {
  asked = ACTS[button.dataset.act](button.dataset);
  at("ask-title").textContent = asked.title;
  at("ask-text").textContent = asked.text;
  at("ask-yes").textContent = asked.yes;
  at("ask-why").hidden = !asked.why;
  at("reason").value = "";
  asked.back = button.dataset.keep;
  at("ask").showModal();
}

async function act() {
  const doing = asked;
  at("ask").close();
  at("outcome").classList.remove("bad");
  say("outcome", doing.yes + ": under way …");
  try {
    const body = JSON.stringify(doing.body(at("reason").value.trim()));
    const response = await fetch(doing.path, { method: "POST", headers: headers({ "Content-Type": "application/json" }), body });
    if (response.status === 401) return enter("The box refuses this token: " + (await told(response)));
    if (!response.ok) throw new Error(await told(response));
    say("outcome", doing.yes + (response.status === 202 ? ": accepted; it goes on." : ": done."));
  } catch (error) {
    at("outcome").classList.add("bad");
    say("outcome", doing.yes + ": not done, or not known to be: " + error.message);
  }
  refresh();
}

function back() {
  const found = asked && [...document.querySelectorAll("[data-keep]")].find((each) => each.dataset.keep === asked.back);
  (found || at("main")).focus({ preventScroll: true });
}

at("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  // A header takes no other characters; nothing else is a token either.
  if (!/^[\x21-\x7e]+$/.test(token)) return enter("That is no token: it has spaces or letters that tokens never have.");
  at("token").value = "";
  sessionStorage.setItem(KEY, token);
  refresh().then(() => at("main").hidden || at("main").focus());
});
at("forget").addEventListener("click", () => enter(""));
at("ask-no").addEventListener("click", () => at("ask").close());
at("ask").addEventListener("close", back);
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  act();
});
document.addEventListener("click", (event) => {
  const found = event.target.closest("[data-act], a[data-model]");
  if (!found) return;
  if (found.dataset.act) return ask(found);
  event.preventDefault();
  location.hash = "model=" + encodeURIComponent(found.dataset.model);
});
window.addEventListener("hashchange", () => {
  if (wanted() !== shown) {
    have = "";
    refresh();
  }
});
document.addEventListener("visibilitychange", () => document.hidden || at("main").hidden || refresh());
refresh();
