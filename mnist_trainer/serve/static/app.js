// The frame of the page: its tabs, its messages, and the functions that the tabs share.

/**
 * The tabs in their order. A tab's address is #NAME or #NAME/ARGUMENT, and its section in index.html has the id
 * panel-NAME. Its module exports show(panel, argument, signal), called whenever its address is opened; the signal is
 * aborted when another address is.
 */
const TABS = [
  { name: "read", title: "Read", load: () => import("./read.js") },
  { name: "train", title: "Train", load: () => import("./train.js") },
  { name: "runs", title: "Runs", load: () => import("./runs.js") },
];

/** An error that the server answered, or that it did not answer (status 0); `retryAfter` in seconds. */
class RequestError extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Return the answer to a request. Throws `RequestError`, and an AbortError if `options.signal` was aborted. */
export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError(0, "The server does not answer. Is mnist-serve still running?");
  }
  if (answer.ok) return answer;
  const text = await answer.json().then(
    (content) => content.error,
    () => `The server answered ${answer.status} ${answer.statusText}.`,
  );
  throw new RequestError(answer.status, text, Number(answer.headers.get("Retry-After")) || 0);
}

/** Return the JSON that a request is answered with. Throws as `request`. */
export async function requestJson(path, options) {
  return (await request(path, options)).json();
}

/**
 * Return a new element. Attributes whose names start with "on" are listeners; true and false stand for attributes
 * without a value. Children are elements or strings, which become text, never markup.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Return a fraction as percent, as the commands print it: "99.6 %". */
export function percent(fraction, digits = 1) {
  return `${(100 * fraction).toFixed(digits)} %`;
}

/** Show an error above the page until the next call; an empty text removes it. */
export function showError(text = "") {
  const message = document.getElementById("error");
  message.textContent = text;
  message.hidden = !text;
}

/** Say something to users of a screen reader. */
export function announce(text) {
  document.getElementById("announcement").textContent = text;
}

/** Open the tab that the address names; the first one if it names none. */
async function openTab(signal) {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const tab = TABS.find((each) => each.name === name) ?? TABS[0];
  for (const each of TABS) {
    document.getElementById(`panel-${each.name}`).hidden = each !== tab;
    const link = document.getElementById(`tab-${each.name}`);
    if (each === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${tab.title} · mnist-trainer`;
  const module = await tab.load();
  if (!signal.aborted) await module.show(document.getElementById(`panel-${tab.name}`), decodeURIComponent(rest.join("/")), signal);
}

let visit = new AbortController();

/** Leave what is shown, open the tab, and show what fails. */
function open() {
  visit.abort();
  visit = new AbortController();
  const { signal } = visit;
  showError();
  openTab(signal).catch((error) => signal.aborted || showError(error.message));
}

/** Remove the token from the address; the server has set a cookie instead. */
function hideToken() {
  const address = new URL(location.href);
  if (!address.searchParams.has("token")) return;
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

hideToken();
document
  .getElementById("tabs")
  .append(...TABS.map(({ name, title }) => element("a", { href: `#${name}`, id: `tab-${name}` }, title)));
addEventListener("hashchange", open);
open();
