// The tab Train: choose a config, change it, train it; and watch a training while a drawing is read by its newest epoch.

import { element, requestJson, showError } from "./app.js";
import { DIGITS, showBars } from "./answer.js";
import { drawingSurface } from "./draw.js";
import { configForm } from "./form.js";
import { curves, follow, metricsText, runControls } from "./watch.js";

const CHECK_MS = 250; // after the last change, before the config is checked
const FIRST = "quickstart";

let draft = null; // the config that is being changed; it stays when another tab is opened

/** Show the config to be trained, or the training of the run named in `argument`. */
export async function show(panel, argument, signal) {
  if (argument) await showTraining(panel, argument, signal);
  else await showDraft(panel, signal);
}

// --- a new training ---

async function showDraft(panel, signal) {
  const { runs, can_train: canTrain } = await requestJson("v1/runs", { signal });
  draft ??= newDraft(...(await Promise.all([requestJson("v1/configs", { signal }), requestJson("v1/config-schema", { signal })])));
  draft.setState(runs.filter(({ state }) => state === "running"), canTrain);
  panel.replaceChildren(draft.node);
}

/** Return the view of a config, with its functions. The YAML text is the config; the form shows it, and changes the text. */
function newDraft({ configs }, schema) {
  const edits = new Map(); // values that were given in the form, by key, until they are in the text
  const choice = element("select", { id: "config", onchange: () => choose(choice.value) }, ...configs.map(({ name }) => element("option", { value: name }, name)));
  const description = element("p", { class: "muted" });
  const form = configForm(schema, change);
  const editor = yamlEditor(() => check());
  const modes = modeButtons({ Form: form.node, YAML: editor.node });
  const side = sidePanel(start, change);
  const busy = element("p", { class: "notice", hidden: true });
  let shown = null; // the last config without problems
  let timer = 0;

  function choose(name) {
    const config = configs.find((each) => each.name === name);
    choice.value = name;
    description.textContent = config.description;
    edits.clear();
    editor.setText(config.yaml);
    check(0);
  }

  function change(path, text) {
    edits.set(path, text);
    check();
  }

  function check(delay = CHECK_MS) {
    clearTimeout(timer);
    side.setBusy();
    timer = setTimeout(() => checkNow().catch((error) => showError(error.message)), delay);
  }

  async function checkNow() {
    const paths = [...edits.keys()];
    const sent = { yaml: editor.text(), base: choice.value, overrides: overrides() };
    const { yaml, config, errors, changes } = await post("v1/configs/check", sent);
    if (editor.text() !== sent.yaml || overrides().join("\n") !== sent.overrides.join("\n")) return; // another check follows
    edits.clear();
    if (yaml !== sent.yaml) editor.setText(yaml);
    const messages = new Map(errors.map(({ override, key, message }) => [paths[override] ?? key, message]));
    shown = config ?? shown;
    if (shown) form.show(shown, messages, config && new Set(changes.map(({ key }) => key)));
    editor.showErrors(errors.filter(({ line }) => line !== null));
    side.show(errors, config && changes, choice.value);
    showError();
  }

  const overrides = () => [...edits].map(([path, text]) => `${path}=${text}`);

  async function start() {
    const { name } = await post("v1/trainings", { yaml: editor.text() });
    location.hash = `train/${encodeURIComponent(name)}`;
  }

  choose(configs.some(({ name }) => name === FIRST) ? FIRST : configs[0].name);
  const chooser = element("div", { class: "bar" }, element("label", { for: "config" }, "Config"), choice, modes.node);
  const left = element("div", { class: "draft" }, chooser, description, form.node, editor.node);
  return {
    node: element("div", { class: "train" }, element("h1", { class: "unseen" }, "Train a model"), busy, left, side.node),
    setState(running, canTrain) {
      const links = running.flatMap(({ folder, name }) => [" ", element("a", { href: `#train/${encodeURIComponent(folder)}` }, name)]);
      busy.replaceChildren("In training now:", ...links);
      busy.hidden = !running.length;
      side.setCanTrain(canTrain);
    },
  };
}

/** Return a word quoted for a shell, if it has to be. */
function quote(word) {
  return /^[\w.,=:+/-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function post(path, content) {
  return requestJson(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
}

/** Return buttons of which one is pressed; each shows its element. */
function modeButtons(views) {
  const buttons = Object.entries(views).map(([name]) => element("button", { type: "button", onclick: () => choose(name) }, name));
  function choose(name) {
    Object.entries(views).forEach(([each, view], index) => {
      view.hidden = each !== name;
      buttons[index].setAttribute("aria-pressed", String(each === name));
    });
  }
  choose(Object.keys(views)[0]);
  return { node: element("div", { class: "modes", role: "group", "aria-label": "How to change the config" }, ...buttons) };
}

/** Return a text field for YAML, with numbers of the lines, and below it each problem under its line. */
function yamlEditor(onInput) {
  const gutter = element("pre", { class: "gutter", "aria-hidden": "true" });
  const area = element("textarea", { spellcheck: "false", autocapitalize: "off", autocomplete: "off", wrap: "off", "aria-label": "Config as YAML", "aria-describedby": "yaml-errors" });
  const problems = element("ol", { class: "problems", id: "yaml-errors" });
  let errors = [];

  function render() {
    const lines = area.value.split("\n");
    area.rows = lines.length + 1;
    const wrong = new Set(errors.map(({ line }) => line));
    gutter.replaceChildren(...lines.map((_, index) => element("span", { class: wrong.has(index + 1) ? "wrong" : "" }, `${index + 1}\n`)));
    problems.replaceChildren(...errors.map((error) => element("li", {}, ...excerpt(error, lines[error.line - 1] ?? ""))));
  }

  function excerpt({ line, column, key, message }, text) {
    const onclick = () => {
      const before = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
      area.focus();
      area.setSelectionRange(before + column - 1, before + column - 1);
    };
    const place = element("button", { type: "button", class: "plain", onclick }, `Line ${line}`);
    const said = element("b", { class: "doubt" }, `^ ${key ? `${key}: ` : ""}${message}`);
    return [place, element("pre", { tabindex: 0 }, `${text}\n${" ".repeat(column - 1)}`, said)];
  }

  area.addEventListener("input", () => {
    render();
    onInput();
  });
  return {
    node: element("div", { class: "yaml" }, element("div", { class: "code" }, gutter, area), problems),
    text: () => area.value,
    setText(text) {
      area.value = text;
      errors = [];
      render();
    },
    showErrors(found) {
      errors = found;
      render();
    },
  };
}

/** Return the panel beside a config: what was changed, what is wrong, and the button that trains it. */
function sidePanel(onTrain, onChange) {
  const list = element("ul", { class: "changes" });
  const problems = element("ul", { class: "doubt", role: "status" });
  const command = element("code", { class: "command" });
  const button = element("button", { type: "button", class: "primary", onclick: train }, "Train");
  const readOnly = element("p", { class: "muted", hidden: true }, "This server starts no trainings. The command below does, in a terminal.");
  let canTrain = true;
  let isValid = false;

  async function train() {
    button.disabled = true;
    try {
      await onTrain();
      showError();
    } catch (error) {
      showError(error.message);
    }
    button.disabled = !isValid;
  }

  return {
    node: element("aside", { class: "side" }, button, readOnly, problems, element("h2", {}, "Changes"), list, element("h2", {}, "In a terminal"), command),
    setBusy() {
      button.disabled = true;
    },
    setCanTrain(can) {
      canTrain = can;
      button.hidden = !canTrain;
      readOnly.hidden = canTrain;
    },
    /** Show what is wrong, and what differs from the config `base`; null: as before. */
    show(errors, changes, base) {
      isValid = !errors.length;
      button.disabled = !isValid;
      problems.replaceChildren(...errors.map(({ line, key, message }) => element("li", {}, `${line === null ? "" : `line ${line}: `}${key ? `${key}: ` : ""}${message}`)));
      if (!changes) return;
      const undo = (key, before) => element("button", { type: "button", class: "plain", "aria-label": `Take back ${key}`, onclick: () => onChange(key, before) }, "×");
      const words = changes.map(({ key, value }) => `${key}=${value}`);
      list.replaceChildren(...changes.map(({ key, before }, index) => element("li", {}, element("code", {}, words[index]), undo(key, before))));
      if (!changes.length) list.append(element("li", { class: "muted" }, "none"));
      command.textContent = ["mnist-train", base, ...words.map(quote)].join(" ");
    },
  };
}

// --- a training that is watched ---

async function showTraining(panel, name, signal) {
  const [detail, { can_train: canTrain }] = await Promise.all([requestJson(`v1/runs/${encodeURIComponent(name)}`, { signal }), requestJson("v1/runs", { signal })]);
  panel.replaceChildren(trainingView(name, detail, canTrain, signal));
}

/** Return the view of a training, which is followed until the signal is aborted. */
function trainingView(name, detail, canTrain, signal) {
  const { label, stopping, resuming, show } = runControls(name, canTrain, watch);
  const metrics = element("p", { class: "muted" });
  const error = element("pre", { class: "doubt", hidden: true });
  const charts = curves();
  const pad = drawingPad(name);
  const all = element("a", { class: "button", href: `#runs/${encodeURIComponent(name)}` }, "All about this run");
  const another = element("a", { class: "button", href: "#train" }, "New training");
  const planned = detail.row?.planned_epochs ?? 0;
  const weights = weightsFigure(name, planned);
  const { report, model } = detail.row?.config ?? {};
  const hasWeights = report?.weights_by_epoch && model.architecture !== "layers"; // whose first layer may not see the image

  function showState(state, message = "") {
    show(state);
    error.hidden = !message;
    error.textContent = message;
  }

  function showRows(rows) {
    metrics.textContent = metricsText(rows, planned);
    charts.update([{ rows }], planned);
    pad.setEpoch(rows.at(-1)?.epoch ?? 0);
    if (hasWeights) weights.show(rows.at(-1)?.epoch ?? 0);
  }

  function watch() {
    follow(name, showRows, showState, signal);
  }

  showState(detail.state, detail.error);
  showRows(detail.metrics);
  watch();
  const buttons = element("div", { class: "buttons" }, stopping, resuming, all, another);
  const head = element("header", { class: "run-head" }, element("div", { class: "bar" }, element("h1", {}, detail.row?.name ?? name), label, buttons), metrics, error);
  return element("article", { class: "training" }, head, element("div", { class: "growing" }, charts.node, weights.node), pad.node);
}

/** Return the first-layer weights after the last epoch of which there is a picture (`report.weights_by_epoch`). */
function weightsFigure(name, planned) {
  const image = element("img", { alt: "" });
  const caption = element("figcaption");
  const node = element("figure", { class: "plot", hidden: true }, element("h3", {}, "First-layer weights"), image, caption);
  const every = Math.max(1, Math.ceil(planned / 50));
  return {
    node,
    show(epoch) {
      const drawn = epoch < every ? Math.min(epoch, 1) : epoch - (epoch % every);
      node.hidden = !drawn;
      if (!drawn) return;
      const source = `v1/runs/${encodeURIComponent(name)}/weights/${drawn}.png`;
      if (image.getAttribute("src") !== source) image.src = source;
      image.alt = `First-layer weights after epoch ${drawn}`;
      caption.textContent = `after epoch ${drawn}; red above 0, blue below, each epoch on a scale of its own`;
    },
  };
}

/** Return a small drawing surface, whose drawing the newest checkpoint of the run reads, again after each epoch. */
function drawingPad(name) {
  const canvas = element("canvas", { class: "pad", role: "img", "aria-label": "Drawing surface for one digit" });
  const text = element("p", { class: "text", "aria-live": "polite" });
  const note = element("p", { class: "muted" });
  const bars = element("table", { class: "bars" }, element("caption"), element("tbody"));
  let epoch = 0;
  let classes = DIGITS;
  let isReading = false;
  let isWanted = false;
  const surface = drawingSurface(canvas, read);
  const clear = element("button", { type: "button", onclick: () => surface.clear() }, "Clear");

  async function read() {
    isWanted = true;
    if (isReading) return;
    isReading = true;
    while (isWanted) {
      isWanted = false;
      await readOnce().catch((failure) => show(null, failure.message));
    }
    isReading = false;
  }

  async function readOnce() {
    if (surface.isEmpty()) return show(null, "Draw a digit: the network reads it after each epoch, while it learns.");
    if (!epoch) return show(null, "The first answer comes after the first epoch.");
    const query = new URLSearchParams({ model: `run:${name}`, expect: "single", details: "true" });
    const answer = await requestJson(`v1/read?${query}`, { method: "POST", headers: { "Content-Type": "image/png" }, body: await surface.picture() });
    const [prediction] = answer.predictions;
    classes = answer.about.classes;
    show(prediction, prediction.error ?? prediction.reason ?? (answer.epoch ? `after epoch ${answer.epoch}` : "by the best epoch"));
  }

  function show(prediction, message) {
    const digit = prediction?.digits[0];
    text.textContent = digit && !prediction.refused ? digit.digit : "";
    note.textContent = message;
    showBars(bars, classes, digit);
  }

  show(null, "Draw a digit: the network reads it after each epoch, while it learns.");
  return {
    node: element("section", { class: "pad-area" }, element("h2", {}, "Try it while it learns"), canvas, element("div", { class: "bar" }, clear, note), text, bars),
    setEpoch(now) {
      if (now === epoch) return;
      epoch = now;
      if (!surface.isEmpty()) read();
    },
  };
}
