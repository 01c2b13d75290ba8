// The tab Runs: the table of all runs, one run with its curves as they grow, and several runs compared.

import { element, percent, requestJson, showError } from "./app.js";
import { curves, follow, metricsText, number, runControls, stateLabel, when } from "./watch.js";

const LIST_MS = 2500; // between two looks at the list of runs

/** Show all runs, or the run named in `argument`, or several runs, whose names are separated by slashes. */
export async function show(panel, argument, signal) {
  const names = argument.split("/").filter(Boolean);
  if (names.length > 1) await showComparison(panel, names, signal);
  else if (names.length) await showRun(panel, names[0], signal);
  else await showTable(panel, signal);
}

/** Return the address of the server for a run. */
const address = (name, rest = "") => `v1/runs/${encodeURIComponent(name)}${rest}`;
const link = (name) => `#runs/${encodeURIComponent(name)}`;
/** Return the name of a run: that of its config, or of its folder, unless this is a time with that name. */
const nameOf = (folder, row) => (row?.name && folder.endsWith(row.name) ? row.name : folder);

// --- the table ---

const COLUMNS = [
  { head: "Run", cell: (run) => [element("a", { href: link(run.folder) }, nameOf(run.folder, run)), element("small", {}, [run.folder.endsWith(run.name) ? "" : run.name, when(run.started_at)].filter(Boolean).join(", "))] },
  { head: "State", cell: (run) => [stateLabel(run.state)] },
  { head: "Data", cell: (run) => [run.task ?? ""], class: "wide" },
  { head: "Model", cell: (run) => [(run.model ?? "").split(" ")[0]], class: "wide" },
  { head: "Epochs", cell: (run) => [epochs(run)], class: "number narrow" },
  { head: "Validation", cell: (run) => [accuracy(run.val_accuracy)], class: "number" },
  { head: "Test", cell: (run) => [accuracy(run.test_accuracy)], class: "number" },
  { head: "Time", cell: (run) => [duration(run.seconds)], class: "number wide" },
];

async function showTable(panel, signal) {
  const chosen = new Set();
  const body = element("tbody");
  const compare = element("button", { type: "button", disabled: true, onclick: () => (location.hash = `runs/${[...chosen].map(encodeURIComponent).join("/")}`) }, "Compare");
  const heads = [element("th", {}, element("span", { class: "unseen" }, "Compare")), ...COLUMNS.map((column) => element("th", { scope: "col", class: column.class }, column.head))];
  const table = element("table", { class: "runs" }, element("thead", {}, element("tr", {}, ...heads)), body);
  const empty = element("p", { class: "muted" }, "There are no runs yet. ", element("a", { href: "#train" }, "Train a model"), ".");
  panel.replaceChildren(element("div", { class: "bar" }, element("h1", {}, "Runs"), compare), table, empty);
  const rows = new Map(); // by folder; elements stay, so that the focus does

  function update({ runs }) {
    empty.hidden = runs.length > 0;
    table.hidden = !runs.length;
    const shown = runs.toReversed().map((run) => {
      const row = rows.get(run.folder) ?? newRow(run.folder);
      rows.set(run.folder, row);
      fill(row, run);
      return row.element;
    });
    if (shown.length !== body.children.length || shown.some((each, index) => body.children[index] !== each)) {
      body.replaceChildren(...shown);
    }
  }

  function newRow(folder) {
    const onchange = (event) => {
      if (event.target.checked) chosen.add(folder);
      else chosen.delete(folder);
      compare.disabled = chosen.size < 2;
    };
    const box = element("input", { type: "checkbox", "aria-label": `Compare ${folder}`, onchange });
    const cells = COLUMNS.map((column) => element("td", { class: column.class }));
    return { element: element("tr", {}, element("td", { class: "choose" }, box), ...cells), cells, texts: [] };
  }

  function fill(row, run) {
    COLUMNS.forEach((column, index) => {
      const content = column.cell(run);
      const text = content.map((part) => part.outerHTML ?? part).join();
      if (row.texts[index] === text) return;
      row.texts[index] = text;
      row.cells[index].replaceChildren(...content);
    });
    row.element.title = run.problems.join("; ");
  }

  await repeat(async () => update(await requestJson("v1/runs", { signal })), signal);
}

/** Call `update` now and again and again, until the view is left; a failure of a later call is shown. */
async function repeat(update, signal) {
  let hasFailed = false;
  async function again() {
    if (signal.aborted) return;
    try {
      if (!document.hidden) await update();
      if (hasFailed && !signal.aborted) showError();
      hasFailed = false;
    } catch (error) {
      hasFailed = true;
      if (!signal.aborted) showError(error.message);
    }
    setTimeout(again, LIST_MS);
  }
  await update();
  setTimeout(again, LIST_MS);
}

const accuracy = (value) => (value === null ? "" : percent(value, 2));
const epochs = (run) => (run.planned_epochs && run.state !== "finished" ? `${run.epochs ?? 0} / ${run.planned_epochs}` : `${run.epochs ?? ""}`);

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// --- one run ---

async function showRun(panel, name, signal) {
  const load = () => requestJson(address(name), { signal });
  const [detail, { can_train: canTrain }] = await Promise.all([load(), requestJson("v1/runs", { signal })]);
  const view = runView(name, canTrain, watch);

  function watch() {
    follow(name, view.rows, (state) => {
      if (state === "running") view.state(state);
      else load().then(show).catch((error) => signal.aborted || showError(error.message));
    }, signal);
  }

  function show(now) {
    view.show(now);
    if (now.state === "running") watch();
  }

  panel.replaceChildren(view.node);
  show(detail);
}

function runView(name, canTrain, onResume) {
  const head = runHead(name, canTrain, onResume);
  const charts = curves();
  const rest = element("div", { class: "details" });
  const node = element("article", { class: "run" }, head.node, charts.node, rest);
  let planned = 0;
  let best = null;
  const view = {
    node,
    state: head.state,
    rows(rows) {
      head.metrics(metricsText(rows, planned));
      charts.update([{ rows }], planned, best);
    },
    show(detail) {
      planned = detail.row?.planned_epochs ?? 0;
      best = detail.state === "finished" ? detail.run.best_epoch : null;
      head.show(detail);
      if (detail.members.length) charts.update(detail.members.map(({ metrics }, index) => ({ label: `${index + 1}`, rows: metrics })), planned);
      else view.rows(detail.metrics);
      rest.replaceChildren(...sections(name, detail));
    },
  };
  return view;
}

/** Return the head of a run: its name, its state, and the buttons that change it. */
function runHead(name, canTrain, onResume) {
  const title = element("h1", {}, name);
  const controls = runControls(name, canTrain, () => {
    report.hidden = true;
    onResume();
  });
  const { label, stopping, resuming } = controls;
  const metrics = element("p", { class: "muted" });
  const error = element("pre", { class: "doubt", hidden: true });
  const reading = element("a", { class: "button", href: `#read/${encodeURIComponent(`run:${name}`)}` }, "Read with it");
  const report = element("a", { class: "button", href: address(name, "/report.html"), download: `${name}.html` }, "Report");
  const buttons = element("div", { class: "buttons" }, stopping, resuming, reading, report);

  function state(now) {
    controls.show(now);
    report.hidden = now === "running";
  }

  return {
    node: element("header", { class: "run-head" }, element("a", { class: "back", href: "#runs" }, "All runs"), element("div", { class: "bar" }, title, label, buttons), metrics, error),
    state,
    metrics: (text) => (metrics.textContent = text),
    show(detail) {
      title.textContent = nameOf(name, detail.row);
      state(detail.state);
      error.hidden = !detail.error;
      error.textContent = detail.error;
      resuming.hidden ||= !detail.config;
      reading.hidden = !detail.metrics.length;
    },
  };
}

/** Return the parts of a run's view below its curves, as far as there is something to show. */
function sections(name, detail) {
  return [
    result(detail),
    diagnosis(detail.run.diagnosis),
    weights(name, detail),
    ...pictures(name, detail.plots),
    facts(detail),
    element("div", { class: "whole" }, ...[metricsTable(detail.metrics), sessions(detail.run.sessions), folded("Config", detail.config), folded("Log", detail.log)].filter(Boolean)),
  ].filter(Boolean);
}

function section(title, ...children) {
  return element("section", {}, element("h2", {}, title), ...children);
}

function folded(title, text) {
  return text && element("details", {}, element("summary", {}, title), element("pre", { tabindex: 0 }, text));
}

function result({ run, row }) {
  const test = run.test;
  if (!test || typeof test.accuracy !== "number") return null;
  const figure = element("p", { class: "figure" }, percent(test.accuracy, 2));
  const words = test.interval
    ? `of ${test.count.toLocaleString("en")} test images are recognized, ${test.errors.toLocaleString("en")} are not. On new images of this kind the accuracy is between ${percent(test.interval[0], 2)} and ${percent(test.interval[1], 2)}, with 95 % confidence.`
    : "of the test images are recognized.";
  return section("Result", figure, element("p", {}, words), element("p", { class: "muted" }, `The model is that of epoch ${row?.best_epoch ?? "unknown"}.`));
}

function diagnosis(found) {
  if (!found) return null;
  const texts = found.findings.map(({ text }) => element("li", {}, text));
  const suggestion = found.suggestion && element("p", {}, "To try next: ", element("code", {}, found.suggestion));
  return section("Diagnosis", element("ul", { class: found.healthy ? "healthy" : "" }, ...texts), ...(suggestion ? [suggestion] : []));
}

/** Return the first-layer weights: of each epoch, chosen by a slider, if there are such pictures. */
function weights(name, { weights: known, plots }) {
  const last = plots.find((plot) => plot.startsWith("weights."));
  if (!known.length) return last?.endsWith(".pdf") ? null : last && section("First-layer weights", picture(name, last, "Weights of the first layer"));
  const image = element("img", { loading: "lazy", alt: "" });
  const label = element("output");
  const slider = element("input", { type: "range", min: 0, max: known.length - 1, value: known.length - 1, "aria-label": "Epoch" });
  const choose = () => {
    const epoch = known[slider.value];
    image.src = address(name, `/weights/${epoch}.png`);
    image.alt = `First-layer weights after epoch ${epoch}`;
    label.textContent = `epoch ${epoch}`;
    slider.setAttribute("aria-valuetext", label.textContent);
  };
  slider.addEventListener("input", choose);
  choose();
  return section("First-layer weights, epoch by epoch", element("div", { class: "bar" }, slider, label), element("figure", { class: "plot" }, image));
}

const PLOTS = { confusion: "Confusion matrix", mistakes: "The most confident mistakes" };

function pictures(name, plots) {
  return Object.entries(PLOTS).flatMap(([kind, title]) => {
    const file = plots.find((plot) => plot.startsWith(`${kind}.`));
    return file ? [section(title, picture(name, file, title))] : [];
  });
}

function picture(name, file, alt) {
  const source = address(name, `/plots/${encodeURIComponent(file)}`);
  const shown = file.endsWith(".pdf") ? alt : element("img", { src: source, alt, loading: "lazy" });
  return element("figure", { class: "plot" }, element("a", { href: source }, shown));
}

function facts({ run, row, name }) {
  const versions = Object.entries(run.versions ?? {}).map((pair) => pair.join(" "));
  const known = [
    ["Data", row?.task],
    ["Model", row?.model],
    ["Parameters", row?.parameters?.toLocaleString("en")],
    ["Seed", row?.seed],
    ["Started", when(row?.started_at)],
    ["Training time", duration(row?.seconds)],
    ["Device", [run.device, run.precision].filter(Boolean).join(", ")],
    ["Versions", versions.join(", ")],
    ["Folder", name],
    ["Damaged", row?.problems.join("; ")],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  return section("Facts", element("dl", { class: "facts" }, ...known.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, String(value))])));
}

/** Return a table whose rows begin with their heads. */
function table(heads, rows) {
  const head = heads.map((text) => element("th", { scope: "col" }, text));
  const line = ([first, ...rest]) => element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((content) => element("td", {}, content)));
  return element("div", { class: "scroll", tabindex: 0 }, element("table", { class: "figures" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows.map(line))));
}

function metricsTable(rows) {
  if (!rows.length) return null;
  const heads = ["Epoch", "Training loss", "Validation loss", "Training accuracy", "Validation accuracy", "Learning rate", "Seconds"];
  const lines = rows.map((row) => [
    String(row.epoch),
    number(row.train_loss),
    number(row.val_loss),
    accuracy(row.train_accuracy ?? null),
    accuracy(row.val_accuracy ?? null),
    number(row.lr),
    number(row.seconds),
  ]);
  return element("details", {}, element("summary", {}, "Metrics of each epoch"), table(heads, lines));
}

function sessions(found) {
  if (!found?.length) return null;
  const position = (at) => (at ? `epoch ${at.epochs}${at.steps ? `, step ${at.steps}` : ""}` : "");
  const lines = found.map((each) => [
    when(each.started_at),
    position(each.began),
    position(each.ended),
    [each.status, each.stop_reason].filter(Boolean).join(", "),
    [each.machine?.device, each.machine?.precision].filter(Boolean).join(", "),
  ]);
  return element("details", {}, element("summary", {}, `Sessions (${found.length})`), table(["Started", "After", "Until", "Ended", "Device"], lines));
}

// --- several runs ---

async function showComparison(panel, names, signal) {
  const charts = curves();
  const rest = element("div", { class: "details" });
  const query = names.slice(1).map((name) => `compare=${encodeURIComponent(name)}`).join("&");
  const report = element("a", { class: "button", href: `${address(names[0], "/report.html")}?${query}`, download: "comparison.html" }, "Report");
  const head = element("header", { class: "run-head" }, element("a", { class: "back", href: "#runs" }, "All runs"), element("div", { class: "bar" }, element("h1", {}, `${names.length} runs compared`), element("div", { class: "buttons" }, report)));
  panel.replaceChildren(element("article", { class: "run" }, head, charts.node, rest));
  let before = "";
  await repeat(async () => {
    const found = await Promise.all(names.map((name) => requestJson(address(name), { signal })));
    const now = JSON.stringify(found.map(({ state, metrics }) => [state, metrics.length]));
    if (now === before) return;
    before = now;
    const labels = labelsOf(found);
    const planned = Math.max(...found.map(({ row }) => row?.planned_epochs ?? 0));
    const drawn = found.map(({ metrics }, index) => ({ label: labels[index], rows: metrics })).filter(({ rows }) => rows.length);
    charts.update(drawn, found.some(({ state }) => state === "running") ? planned : 0);
    rest.replaceChildren(...comparison(found, labels));
  }, signal);
}

/** Return the name of each run, or its folder if another one has the same name. */
function labelsOf(found) {
  const names = found.map(({ row, name }) => nameOf(name, row));
  return names.map((name, index) => (names.indexOf(name) === names.lastIndexOf(name) ? name : found[index].name));
}

function comparison(found, labels) {
  const rows = found.map(({ row }) => row);
  const several = (key) => new Set(rows.map((row) => row?.[key])).size > 1;
  const notes = [
    several("task") && "The runs have different data: neither accuracies nor losses can be compared.",
    !several("task") && several("loss") && "The runs have different loss functions: losses can't be compared.",
  ].filter(Boolean);
  const results = [
    ["State", ...found.map(({ state }) => stateLabel(state))],
    ["Best epoch", ...rows.map((row) => String(row?.best_epoch ?? ""))],
    ["Validation loss", ...rows.map((row) => number(row?.val_loss))],
    ["Validation accuracy", ...rows.map((row) => accuracy(row?.val_accuracy ?? null))],
    ["Test accuracy", ...rows.map((row) => accuracy(row?.test_accuracy ?? null))],
    ["95 % interval", ...rows.map((row) => row?.test_interval?.map((value) => percent(value, 2)).join(" to ") ?? "")],
    ["Parameters", ...rows.map((row) => row?.parameters?.toLocaleString("en") ?? "")],
    ["Training time", ...rows.map((row) => duration(row?.seconds))],
  ];
  const configs = rows.map((row) => new Map(leaves(row?.config ?? {})));
  const keys = [...new Set(configs.flatMap((config) => [...config.keys()]))].filter((key) => new Set(configs.map((config) => config.get(key))).size > 1);
  const differences = keys.map((key) => [key, ...configs.map((config) => config.get(key) ?? "–")]);
  return [
    ...notes.map((note) => element("p", { class: "doubt whole" }, note)),
    section("Results", table(["", ...labels], results)),
    section("Differences of the configs", differences.length ? table(["", ...labels], differences) : element("p", {}, "The configs are the same.")),
  ];
}

/** Return the keys of a config with their values as text: [["optimizer.lr", "0.01"], …]. */
function leaves(config, above = "") {
  return Object.entries(config).flatMap(([key, value]) => {
    const isSection = value !== null && typeof value === "object" && !Array.isArray(value);
    return isSection ? leaves(value, `${above}${key}.`) : [[`${above}${key}`, JSON.stringify(value).replaceAll('"', "")]];
  });
}
