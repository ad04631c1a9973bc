// What the page does by itself: it counts down, copies, filters, signs in and out, and shows what the daemon sends it.
// All markup comes from the daemon, which escapes every value; nothing is put together here.
"use strict";

const root = document.documentElement;
const live = document.getElementById("live");
const message = document.getElementById("message");
const rows = document.getElementById("rows");
const form = document.getElementById("filter");
const RETRY = 2000; // ms until the next try to connect, after one that the browser gave up

root.classList.add("scripted");

// --- the time that is left ---

function left(seconds) {
  if (seconds <= 0) return "no time left";
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  if (h >= 48) return `${Math.floor(h / 24)} d ${h % 24} h`;
  const two = (number) => String(number).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)} h` : `${m}:${two(s)} min`;
}

function countDown() {
  for (const shown of document.querySelectorAll(".countdown")) {
    const text = left(Number(shown.dataset.until) - Date.now() / 1000);
    if (shown.textContent !== text) shown.textContent = text;
  }
}

// --- the list of requests ---

function shows(row) {
  const text = form.elements.q.value.trim().toLowerCase();
  const isKind = !form.elements.failed.checked || row.classList.contains("failed");
  return isKind && row.textContent.toLowerCase().includes(text);
}

function filter() {
  let count = 0;
  for (const row of rows.children) {
    row.classList.toggle("hidden", !shows(row));
    if (shows(row)) count += 1;
  }
  const text = `${count} of the last ${rows.children.length} requests are shown.`;
  const shown = document.getElementById("shown");
  if (shown.textContent !== text) shown.textContent = text;
}

function addRows(markup, isWhole) {
  const fresh = document.createElement("tbody");
  fresh.innerHTML = markup;
  if (isWhole) {
    const open = new Set([...rows.querySelectorAll("details[open]")].map((one) => one.closest("tr").id));
    for (const row of fresh.children) if (open.has(row.id)) row.querySelector("details")?.setAttribute("open", "");
    if (fresh.textContent !== rows.textContent) rows.replaceChildren(...fresh.children);
  } else {
    for (const row of fresh.children) row.classList.add("new");
    rows.prepend(...fresh.children);
    while (rows.children.length > Number(rows.dataset.most)) rows.lastElementChild.remove();
  }
  filter();
}

// --- the other parts ---

function replace(id, markup) {
  const part = document.getElementById(id);
  if (!part) return;
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const details = [...part.querySelectorAll("details")].map((one) => one.open);
  part.innerHTML = markup;
  [...part.querySelectorAll("details")].forEach((one, at) => { if (at in details) one.open = details[at]; });
  if (focused) document.getElementById(focused)?.focus();
}

function receive(event) {
  const told = JSON.parse(event.data);
  for (const [id, markup] of Object.entries(told.parts)) replace(id, markup);
  if (told.rows || told.whole) addRows(told.rows, told.whole);
  if (told.start !== root.dataset.start) {
    say("ppmproxy was started anew since this page was opened. Load the page again to sign in or out.");
    root.dataset.start = told.start;
  }
  countDown();
}

let events = null;

// Only while it can be seen: a browser has six connections to one server, and a seventh window would wait for ever.
function connect() {
  if (events || document.hidden) return;
  events = new EventSource(root.dataset.events);
  events.onopen = () => { live.textContent = "Live."; };
  events.onmessage = receive;
  events.onerror = () => {
    live.textContent = "Not connected to ppmproxy: what is shown is old. Trying again.";
    if (events?.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(connect, RETRY);
    }
  };
}

function disconnect() {
  events?.close();
  events = null;
}

// --- acting ---

function say(text) {
  message.textContent = text;
}

async function ask(button, method, path) {
  const token = document.querySelector('meta[name="ppmproxy-page-token"]')?.content ?? "";
  button.disabled = true;
  say("");
  let text = "";
  try {
    const answer = await fetch(path, { method, headers: { "X-Ppmproxy-Page-Token": token } });
    if (answer.ok) text = await answer.text();
    else say((await answer.json()).detail);
  } catch {
    say("ppmproxy does not answer. Is it running?");
  }
  button.disabled = false;
  return text;
}

async function check(button) {
  const checks = document.getElementById("checks");
  checks.textContent = "The checks are running.";
  checks.innerHTML = await ask(button, "GET", button.dataset.load);
}

async function copy(button) {
  const label = button.firstChild;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Not copied: select it by hand";
  }
  setTimeout(() => { label.textContent = "Copy"; }, 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.action) ask(button, "POST", button.dataset.action);
  if (button?.dataset.load) check(button);
  if (button?.dataset.copy) copy(button);
});
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => { event.preventDefault(); filter(); });
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
addEventListener("pagehide", disconnect);
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
setInterval(countDown, 1000);
countDown();
connect();
