// What one model reads: its text, the image of each digit, the probabilities, and the facts about the model.

import { element, percent } from "./app.js";

/**
 * Return a card with the answers of a model, and functions that show them.
 *
 * `onModel(name)` is called when another model is chosen, `onDigit(index)` when a digit is, and `onCompare()` when a
 * second card is to be opened or this one closed.
 */
export function answerCard({ onModel, onDigit, onCompare }) {
  const card = document.getElementById("answer").content.cloneNode(true).firstElementChild;
  const [choice, compare, text, notes, tiles, bars, facts] = ["select", ".compare", ".text", ".notes", ".tiles", ".bars", ".facts"].map(
    (selector) => card.querySelector(selector),
  );
  let model = null;
  choice.addEventListener("change", () => onModel(choice.value));
  compare.addEventListener("click", onCompare);

  return {
    element: card,
    model: () => model?.name,
    /** Offer `models` and choose one; `label` is that of the button that opens or closes a card, or empty. */
    setModels(models, name, label) {
      model = models.find((each) => each.name === name) ?? models[0];
      choice.replaceChildren(...models.map((each) => element("option", { value: each.name }, each.title ?? each.name)));
      choice.value = choice.title = model.name;
      compare.textContent = label;
      compare.hidden = !label;
      facts.replaceChildren(...modelFacts(model));
      showBars(bars, model.classes ?? DIGITS, null);
    },
    /** Show facts about the model: those of a run come with its answer, and change with its weights. */
    setFacts(about) {
      if (about?.sha256 === model.sha256) return;
      model = { ...model, ...about };
      facts.replaceChildren(...modelFacts(model));
    },
    /**
     * Show a prediction (docs/predict.schema.json) with its digit `index` in detail; null: there is none.
     * `label` is what is written on the picture, and `epoch` that of a model in training, if they are known.
     */
    show(prediction, index, label, epoch) {
      showText(text, prediction);
      notes.replaceChildren(...noteLines(prediction, label, epoch));
      showTiles(tiles, prediction, index, onDigit);
      showBars(bars, model.classes ?? DIGITS, prediction?.digits[index]);
    },
    /** Show why there is no prediction: nothing to read, or a failure. */
    showNothing(message, isFailure = false) {
      this.show(null, 0);
      notes.replaceChildren(element("p", { class: isFailure ? "doubt" : "muted" }, message));
    },
  };
}

/** The classes of a model as long as they are not known. */
export const DIGITS = [..."0123456789"];
const LONG = 12; // a text with more characters in a line, or with more lines, may have to be scrolled
const HIGH = 5;

function showText(place, prediction) {
  const text = prediction?.refused ? "Refused" : (prediction?.text ?? "");
  const lines = text.split("\n");
  const length = Math.max(1, ...lines.map((line) => line.length));
  place.textContent = text;
  place.classList.toggle("refused", Boolean(prediction?.refused));
  place.style.setProperty("--length", length);
  place.style.setProperty("--lines", lines.length);
  if (length > LONG || lines.length > HIGH) place.tabIndex = 0;
  else place.removeAttribute("tabindex");
}

/** Return paragraphs: how sure it is, the signs, whether the label agrees, and what is doubtful. */
function noteLines(prediction, label, epoch) {
  if (!prediction) return [];
  const { confidence, refused, reason, error, digits, warnings = [] } = prediction;
  const lines = [];
  if (error) return [element("p", { class: "doubt" }, error)];
  if (refused) lines.push(element("p", { class: "doubt" }, reason));
  if (confidence !== null) {
    const sure = percent(confidence).replace(" ", "\u00a0");
    lines.push(element("p", {}, `${digits.length > 1 ? "lowest confidence" : "confidence"} ${sure}`));
  }
  lines.push(...signNotes(prediction).map((note) => element("p", {}, note)));
  if (label) {
    const isRight = prediction.text === label;
    lines.push(element("p", { class: isRight ? "right" : "doubt" }, `label: ${label}, ${isRight ? "right" : "wrong"}`));
  }
  if (epoch !== undefined) lines.push(element("p", { class: "muted" }, `after epoch ${epoch}`));
  lines.push(...warnings.map((warning) => element("p", { class: "doubt" }, warning)));
  return lines;
}

/** Return the lines of the text with the signs beside their digits: "with signs: 3.14". */
function signNotes({ text, signs = [] }) {
  const lines = text.split("\n");
  return lines.flatMap((line, number) => {
    const here = signs.filter((each) => each.line === number);
    const inline = here.filter(({ sign }) => sign.length === 1);
    const characters = [...line];
    for (const { sign, after } of inline.slice().reverse()) characters.splice(after, 0, sign);
    const where = lines.length > 1 ? `line ${number + 1} ` : "";
    const bars = here.filter(({ sign }) => sign.length > 1).map(({ sign }) => `${sign} under ${where || "the digits"}`);
    return inline.length ? [`${where}with signs: ${characters.join("")}`, ...bars] : bars;
  });
}

const MANY = 4; // more digits than this have small images
const SURE = 0.9; // whose confidence is shown below this

/** Show the 28×28 image of each digit, with its answer; the one at `index` is pressed. */
function showTiles(list, prediction, index, onDigit) {
  const digits = prediction?.digits ?? [];
  list.querySelector(".ghost")?.remove();
  list.classList.toggle("many", digits.length > MANY);
  while (list.children.length > digits.length) list.lastElementChild.remove();
  digits.forEach((digit, number) => {
    const tile = list.children[number] ?? list.appendChild(newTile(() => onDigit(number)));
    const button = tile.firstElementChild;
    const [place, image, answer, sure] = button.children;
    const source = prediction.images?.[number];
    if (source && image.getAttribute("src") !== source) image.src = source;
    place.textContent = `Digit ${number + 1} of ${digits.length}: `;
    answer.textContent = digit.refused ? "?" : digit.digit;
    sure.textContent = digit.refused ? "refused" : digit.confidence === null ? "" : percent(digit.confidence);
    sure.className = digit.confidence < SURE ? "unsure" : "";
    button.title = digit.reason ?? "";
    button.className = digit.refused ? "tile refused" : "tile";
    button.setAttribute("aria-pressed", String(number === index));
  });
  if (!digits.length) list.append(element("li", { class: "ghost" }));
}

function newTile(onclick) {
  const image = element("img", { alt: "", width: 28, height: 28 });
  const parts = [element("span", { class: "unseen" }), image, element("b"), element("span")];
  return element("li", {}, element("button", { type: "button", class: "tile", onclick }, ...parts));
}

/** Show the probability of each class; all are 0 without a digit. */
export function showBars(table, classes, digit) {
  const [caption] = table.children;
  const body = table.tBodies[0];
  const values = digit?.probabilities ?? [];
  if (body.children.length !== classes.length || body.dataset.classes !== classes.join()) {
    body.dataset.classes = classes.join();
    body.replaceChildren(...classes.map(newBar));
  }
  const hasNone = Boolean(digit) && !values.length;
  const condition = digit?.refused ? ", if it were a digit" : "";
  caption.textContent = hasNone ? "This model's outputs are not probabilities." : `Probability of each class${condition}`;
  const best = Math.max(...values);
  [...body.children].forEach((row, index) => {
    const value = values[index] ?? 0;
    row.querySelector(".fill").style.transform = `scaleX(${value})`;
    row.lastElementChild.textContent = values.length ? percent(value) : "";
    row.classList.toggle("best", values.length > 0 && value === best);
  });
  table.classList.toggle("refused", Boolean(digit?.refused));
}

function newBar(name) {
  const bar = element("div", { class: "track" }, element("div", { class: "fill" }));
  return element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "share" }, bar), element("td"));
}

/** Return the terms and descriptions of a model's facts. */
function modelFacts({ sha256, test, limits, trained_on: trainedOn, is_run: isRun }) {
  const facts = [];
  if (isRun) facts.push(["Model", "the newest weights of a run, also while it trains"]);
  if (trainedOn) facts.push(["Trained on", trainedOn]);
  if (test) {
    const range = test.interval.map((limit) => percent(limit, 2)).join(" to ");
    const share = `${test.errors.toLocaleString("en")} errors on ${test.count.toLocaleString("en")} test images`;
    facts.push(["Accuracy", `${percent(test.accuracy, 2)} (95 % interval ${range}; ${share})`]);
  }
  if (sha256) {
    const summary = element("summary", {}, `${sha256.slice(0, 12)}…`);
    facts.push(["SHA-256", element("details", {}, summary, element("code", {}, sha256))]);
  }
  if (limits) facts.push(["Limits", limits]);
  return facts.flatMap(([term, description]) => [element("dt", {}, term), element("dd", {}, description)]);
}
