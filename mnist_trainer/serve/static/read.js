// The tab Read: a drawing or pictures go to the server, and what its models read comes back.

import { announce, element, percent, request, requestJson, showError } from "./app.js";
import { answerCard } from "./answer.js";
import { drawingSurface } from "./draw.js";

const ANNOUNCE_MS = 700; // how long an answer stays the same before it is spoken
const TINY = 100; // pictures of fewer pixels across are shown with sharp pixels
const STEPS = ["input, upright", "background normalized", "detected ink"]; // before there are any

const at = (id) => document.getElementById(id);

let surface = null;
let cards = [];
let models = [];
let pictures = null; // {files, label}, or null while the drawing is read
let results = []; // of each card: {predictions} or {error}
let page = 0; // which of the predictions is shown
let digit = null; // which of its digits is shown in detail; null: the one at the pen, or the first
let controller = null; // aborts the request in flight
let sampling = null; // aborts the request for a sample
let announcing = 0;

/** Show the tab; `argument` is the name of a model to read with. */
export async function show(_panel, argument, signal) {
  if (!surface) start();
  signal.addEventListener("abort", abort);
  await loadModels(signal);
  const names = cards.length ? cards.map((card) => card.model()) : [models[0].name];
  showCards(argument ? [argument] : names);
  update();
}

/** Stop what is on its way. */
function abort() {
  controller?.abort();
  sampling?.abort();
}

function start() {
  surface = drawingSurface(at("drawing"), () => {
    sampling?.abort();
    digit = null;
    update();
  });
  at("undo").addEventListener("click", surface.undo);
  at("clear").addEventListener("click", clear);
  at("pen-width").addEventListener("input", (event) => surface.setWidth(Number(event.target.value)));
  at("expect").addEventListener("change", update);
  for (const [button, input] of [["choose", "files"], ["photograph", "camera"]]) {
    at(button).addEventListener("click", () => at(input).click());
    at(input).addEventListener("change", (event) => {
      open([...event.target.files]);
      event.target.value = "";
    });
  }
  at("sample-digit").addEventListener("click", () => openSample("digit"));
  at("sample-photograph").addEventListener("click", () => openSample("photograph"));
  at("picture").addEventListener("load", ({ target }) => {
    target.classList.toggle("tiny", target.naturalWidth < TINY);
    showBoxes();
  });
  at("picture").addEventListener("error", showPicture);
  listenForFiles();
  document.addEventListener("keydown", (event) => {
    if (isVisible() && (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === "z" && !pictures) surface.undo();
  });
}

const isVisible = () => !at("panel-read").hidden;

/** Take pictures that are dropped or pasted anywhere on the page. */
function listenForFiles() {
  const holdsFiles = (event) => isVisible() && event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    at("paper").classList.add("target");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) at("paper").classList.remove("target");
  });
  addEventListener("drop", (event) => {
    at("paper").classList.remove("target");
    if (!holdsFiles(event)) return;
    event.preventDefault();
    open([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    if (isVisible() && event.clipboardData?.files.length) open([...event.clipboardData.files]);
  });
}

/** Load the list of models and of the runs that can be read with. */
async function loadModels(signal) {
  const [served, listed] = await Promise.all([
    requestJson("v1/models", { signal }),
    requestJson("v1/runs", { signal }).catch(() => ({ runs: [] })),
  ]);
  const readable = listed.runs.filter((run) => run.kind === "run" && run.epochs);
  const runs = readable.map(({ folder, task }) => ({
    name: `run:${folder}`,
    title: `run ${folder}`,
    trained_on: task,
    is_run: true,
  }));
  models = [...served.models, ...runs];
}

/** Show a card for each of the models `names`. */
function showCards(names) {
  while (cards.length > names.length) cards.pop().element.remove();
  names.forEach((name, index) => {
    const card = (cards[index] ??= newCard(index));
    if (!models.some((each) => each.name === name)) models.push({ name, is_run: name.startsWith("run:") });
    const label = models.length < 2 ? "" : index ? "Close" : names.length < 2 ? "Compare" : "";
    card.setModels(models, name, label);
  });
  at("answers").classList.toggle("two", names.length > 1);
  results = [];
  render();
}

function newCard(index) {
  const names = () => cards.map((card) => card.model());
  const card = answerCard({
    onModel(name) {
      showCards(names().map((each, number) => (number === index ? name : each)));
      update();
    },
    onDigit(number) {
      digit = number;
      render();
    },
    onCompare() {
      const other = models.find((each) => each.name !== names()[0]);
      showCards(index ? names().slice(0, 1) : [names()[0], other.name]);
      update();
    },
  });
  at("answers").append(card.element);
  return card;
}

/** Read pictures instead of the drawing; `label` is what is written on them, if that is known. */
function open(files, label = null) {
  if (!files.length) return;
  forget();
  pictures = { files, label, address: files.length === 1 ? URL.createObjectURL(files[0]) : null };
  render();
  at("paper").scrollIntoView({ block: "nearest" });
  update();
}

/** Read a picture that the server chooses or makes, which may take a moment; what is drawn or opened meanwhile stays. */
async function openSample(kind) {
  const button = at(`sample-${kind}`);
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  sampling?.abort();
  sampling = new AbortController();
  const { signal } = sampling;
  try {
    const answer = await request(`v1/samples/${kind}`, { cache: "no-store", signal });
    const content = await answer.blob();
    open([new File([content], `${kind}.png`, { type: content.type })], answer.headers.get("X-Label"));
    showError();
  } catch (error) {
    if (!signal.aborted) showError(error.message);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** Remove the pictures, or the drawing. */
function clear() {
  const hadPictures = pictures;
  forget();
  if (!hadPictures) surface.clear();
  render();
  update();
}

/** Forget the pictures and what was read. */
function forget() {
  abort();
  if (pictures?.address) URL.revokeObjectURL(pictures.address);
  pictures = null;
  results = [];
  page = 0;
  digit = null;
}

let isWanted = false;
let isReading = false;

/** Read what there is, after what is being read: one request at a time, the newest drawing next. */
async function update() {
  showTools();
  isWanted = true;
  if (isReading) return;
  isReading = true;
  try {
    while (isWanted) {
      isWanted = false;
      await read();
    }
  } finally {
    isReading = false;
  }
}

/** Read the pictures or the drawing with the model of each card, and show the answers. */
async function read() {
  const source = pictures;
  const isEmpty = !source && surface.isEmpty();
  const body = isEmpty ? null : source ? form(source.files) : await surface.picture();
  controller = new AbortController();
  const { signal } = controller;
  const names = cards.map((card) => card.model());
  const answers = isEmpty ? [] : await Promise.all(names.map((name) => readWith(name, body, signal)));
  if (source !== pictures || signal.aborted || names.join() !== cards.map((card) => card.model()).join()) {
    isWanted ||= !signal.aborted;
    return;
  }
  const wait = Math.max(0, ...answers.map(({ error }) => error?.retryAfter ?? 0));
  if (wait) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
    isWanted ||= !signal.aborted;
    return;
  }
  const failure = answers.find(({ error }) => error && !error.status);
  showError(failure?.error.message);
  if (failure) return;
  results = answers;
  render();
  scheduleAnnouncement();
}

function form(files) {
  const data = new FormData();
  for (const file of files) data.append("files", file);
  return data;
}

/** Return {predictions} of a model, or {error}. */
async function readWith(model, body, signal) {
  const query = new URLSearchParams({ model, expect: at("expect").value, details: "true" });
  try {
    return await requestJson(`v1/read?${query}`, { method: "POST", body, signal });
  } catch (error) {
    return { error };
  }
}

/** Return the index of the digit that is shown in detail: the chosen one, or the nearest to the pen. */
function digitIndex({ digits }) {
  if (digit !== null) return Math.min(digit, digits.length - 1);
  const pen = pictures ? null : surface.lastPoint();
  if (!pen) return 0;
  const distances = digits.map(({ box: [x, y, width, height] }) =>
    Math.hypot(Math.max(x - pen[0], 0, pen[0] - x - width), Math.max(y - pen[1], 0, pen[1] - y - height)),
  );
  return Math.max(0, distances.indexOf(Math.min(...distances)));
}

const shownPrediction = () => results[0]?.predictions?.[page];

/** Show everything that depends on the pictures and the answers. */
function render() {
  cards.forEach((card, index) => {
    const result = results[index];
    const prediction = result?.predictions?.[page];
    if (result?.about) card.setFacts(result.about);
    if (prediction) card.show(prediction, digitIndex(prediction), pictures?.label, result.epoch);
    else if (result) card.showNothing(result.error.message, true);
    else card.showNothing(pictures || !surface.isEmpty() ? "Reading …" : "Nothing to read yet.");
  });
  showTools();
  showPicture();
  showBoxes();
  showSteps();
  showPages();
}

function showTools() {
  at("clear").textContent = pictures ? "Draw instead" : "Clear";
  at("clear").disabled = !pictures && surface.isEmpty();
  at("undo").disabled = Boolean(pictures) || !surface.canUndo();
  at("pen").hidden = Boolean(pictures);
  at("hint").hidden = Boolean(pictures) || !surface.isEmpty();
}

/** Show the picture itself if the browser can; else, and of several pages, what the server made of it. */
function showPicture(event) {
  const image = at("picture");
  const isOne = (results[0]?.predictions?.length ?? 1) === 1;
  const own = event?.type !== "error" && isOne && image.dataset.failed !== pictures?.address && pictures?.address;
  if (event?.type === "error" && image.src === pictures?.address) image.dataset.failed = pictures.address;
  const source = pictures && (own || shownPrediction()?.steps?.[0]?.image);
  at("drawing").hidden = Boolean(pictures);
  image.hidden = !source;
  if (source && image.getAttribute("src") !== source) image.src = source;
  if (!source) image.removeAttribute("src");
}

/** Draw the box of each digit over the picture. */
function showBoxes() {
  const svg = at("boxes");
  const prediction = shownPrediction();
  const image = at("picture");
  const [width, height] = pictures ? (prediction?.size ?? [image.naturalWidth, image.naturalHeight]) : surface.size();
  svg.replaceChildren();
  if (!prediction || !width) return;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const chosen = digitIndex(prediction);
  const unit = Math.max(width / 640, height / 400);
  prediction.digits.forEach((each, index) => svg.append(...boxShapes(each, index, index === chosen, unit)));
}

/** Return a rectangle around a digit, and its answer above it; `unit` is about a pixel of the screen. */
function boxShapes({ box: [x, y, width, height], digit: name, refused }, index, isChosen, unit) {
  const shape = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const margin = 5 * unit;
  const frame = { x: x - margin, y: y - margin, width: width + 2 * margin, height: height + 2 * margin, rx: 4 * unit };
  const rectangle = shape("rect", { ...frame, class: `${isChosen ? "chosen" : ""} ${refused ? "refused" : ""}` });
  rectangle.addEventListener("click", () => {
    digit = index;
    render();
  });
  const size = 15 * unit;
  const label = shape("text", { x: frame.x, y: Math.max(size, frame.y - 4 * unit), "font-size": size, class: refused ? "refused" : "" });
  label.textContent = refused ? "?" : name;
  return [rectangle, label];
}

/** Show the intermediate images of the reading. */
function showSteps() {
  const made = shownPrediction()?.steps;
  const steps = made?.length ? made : STEPS.map((name) => ({ name }));
  const list = at("steps");
  if (list.children.length !== steps.length) {
    list.replaceChildren(
      ...steps.map(() =>
        element("li", {}, element("figure", {}, element("div", { class: "frame" }, element("img", { alt: "" })), element("figcaption"))),
      ),
    );
  }
  steps.forEach(({ name, image }, index) => {
    const picture = list.children[index].querySelector("img");
    picture.hidden = !image;
    if (image) picture.src = image;
    list.children[index].querySelector("figcaption").textContent = `${index + 1}. ${name}`;
  });
}

/** Show a button for each picture or page, if there are several. */
function showPages() {
  const list = at("pictures");
  const predictions = results[0]?.predictions ?? [];
  list.hidden = predictions.length < 2;
  list.replaceChildren(
    ...(list.hidden ? [] : predictions).map((prediction, index) => {
      const name = `${prediction.path ?? `picture ${index + 1}`}${prediction.page ? `, page ${prediction.page}` : ""}`;
      const text = prediction.error ? "not read" : prediction.refused ? "refused" : prediction.text.split("\n")[0];
      const onclick = () => {
        page = index;
        digit = null;
        render();
        at("pictures").children[index].firstElementChild.focus();
      };
      const pressed = { type: "button", "aria-pressed": String(index === page), onclick };
      return element("li", {}, element("button", pressed, element("span", {}, name), element("b", {}, text)));
    }),
  );
}

/** Tell users of a screen reader what was read, when it no longer changes. */
function scheduleAnnouncement() {
  clearTimeout(announcing);
  const prediction = shownPrediction();
  if (!prediction) return;
  const sure = prediction.confidence === null ? "" : `, confidence ${percent(prediction.confidence)}`;
  const reason = prediction.error ?? (prediction.refused ? `Refused: ${prediction.reason}` : null);
  announcing = setTimeout(() => announce(reason ?? `${prediction.text}${sure}`), ANNOUNCE_MS);
}
