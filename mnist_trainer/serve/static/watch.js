// A run as it trains: its events, and its curves as an SVG that grows with them.

import { element, percent, request, showError } from "./app.js";

/** What a state is called on the page. */
const STATES = { running: "training", finished: "finished", stopped: "stopped", failed: "failed" };

const LOST = "The run can't be followed: the server does not answer, or the run is no longer there.";

/**
 * Follow a run until it ends or `signal` is aborted. `onRows(rows)` is called with all rows of its metrics when there
 * are new ones, `onState(state, error)` when its state changes. After a lost connection the browser continues by itself.
 * A page that nobody sees closes its connection: a browser has only six of them to a server, for all its windows.
 */
export function follow(name, onRows, onState, signal) {
  let source = null;

  function look() {
    if (document.hidden) source = source?.close();
    else source ??= open();
  }

  function end() {
    document.removeEventListener("visibilitychange", look);
    source?.close(); // else the browser would connect again
  }

  function open() {
    const opened = new EventSource(`v1/runs/${encodeURIComponent(name)}/events`);
    let rows = [];
    let waiting = 0;
    let isLost = false;
    opened.addEventListener("metrics", (event) => {
      rows[Number(event.lastEventId) - 1] = JSON.parse(event.data);
      waiting ||= requestAnimationFrame(() => {
        waiting = 0;
        if (!signal.aborted) onRows(rows.filter(Boolean));
      });
    });
    opened.addEventListener("reset", () => (rows = []));
    opened.addEventListener("state", (event) => {
      const { state, error } = JSON.parse(event.data);
      if (state !== "running") end();
      onState(state, error);
    });
    opened.addEventListener("error", () => {
      isLost = true;
      showError(LOST);
    });
    opened.addEventListener("open", () => {
      if (isLost) showError();
      isLost = false;
    });
    return opened;
  }

  if (signal.aborted) return;
  signal.addEventListener("abort", end);
  document.addEventListener("visibilitychange", look);
  look();
}

/** Return a time for people, with the year only if it is another one. */
export function when(time) {
  if (!time) return "";
  const date = new Date(time);
  const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  return date.toLocaleString(undefined, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit", ...year });
}

/** Return the label of a run's state, the buttons that stop and resume it, and `show(state)`; `onResume` follows it. */
export function runControls(name, canTrain, onResume) {
  const label = element("span", { "aria-live": "polite" });
  const stopping = element("button", { type: "button", onclick: () => change("stop") }, "Stop");
  const resuming = element("button", { type: "button", onclick: () => change("resume") }, "Resume");

  async function change(action) {
    try {
      await request(`v1/runs/${encodeURIComponent(name)}/${action}`, { method: "POST" });
      showError();
      if (action === "stop") return (stopping.disabled = true);
      show("running");
      onResume();
    } catch (failure) {
      showError(failure.message);
    }
  }

  function show(state) {
    label.replaceChildren(stateLabel(state));
    stopping.hidden = state !== "running" || !canTrain;
    stopping.disabled = false;
    resuming.hidden = !["stopped", "failed"].includes(state) || !canTrain;
  }

  return { label, stopping, resuming, show };
}

/** Return the label of a state. */
export function stateLabel(state) {
  return element("span", { class: `state ${state}` }, STATES[state]);
}

/** Return the last row's metrics in words: "epoch 3 of 12: training loss 0.21, …". */
export function metricsText(rows, planned) {
  const row = rows.at(-1);
  if (!row) return "No epoch is complete yet.";
  const parts = [
    ["training loss", number(row.train_loss)],
    ["validation loss", number(row.val_loss)],
    ["training accuracy", row.train_accuracy === null ? "" : percent(row.train_accuracy)],
    ["validation accuracy", row.val_accuracy === null ? "" : percent(row.val_accuracy)],
  ];
  const known = parts.filter(([, value]) => value).map((part) => part.join(" "));
  return `Epoch ${row.epoch}${planned ? ` of ${planned}` : ""}: ${known.join(", ")}.`;
}

/** Return a loss for people; an empty text if there is none. */
export function number(value) {
  return value === null || value === undefined ? "" : String(Number(value.toPrecision(3)));
}

/**
 * Return the two lines of a run in each chart, as `curves` takes them. With several runs each has a `label` and shows
 * its validation metrics, or those of training if it has none.
 */
function linesOf(runs) {
  const kinds = [
    ["train", "training"],
    ["val", "validation"],
  ];
  const line = (rows, key) => rows.filter((row) => row[key] !== null).map((row) => [row.epoch, row[key]]);
  const lines = (metric) =>
    runs.flatMap(({ label, rows }, index) => {
      const known = kinds.filter(([kind]) => rows.some((row) => row[`${kind}_${metric}`] !== null));
      const shown = runs.length > 1 ? known.slice(-1) : known;
      return shown.map(([kind, name]) => ({
        label: runs.length > 1 ? `${label}${kind === "train" ? " (training)" : ""}` : name,
        style: runs.length > 1 ? index % 6 : kind === "train" ? 1 : 0,
        points: line(rows, `${kind}_${metric}`),
      }));
    });
  return { loss: lines("loss"), accuracy: lines("accuracy") };
}

/** Return an element with the charts of loss and accuracy, and `update(runs, planned, best)`, which draws them. */
export function curves() {
  const charts = [chart("Loss", number), chart("Accuracy", (value) => percent(value, value > 0.99 ? 2 : 1))];
  const node = element("div", { class: "charts" }, ...charts.map((each) => each.node));
  const resized = new ResizeObserver(() => charts.forEach((each) => each.draw()));
  resized.observe(node);
  return {
    node,
    update(runs, planned, best) {
      const { loss, accuracy } = linesOf(runs);
      charts[0].update(loss, planned, best);
      charts[1].update(accuracy, planned, best);
    },
  };
}

const HEIGHT = 250;
const MARGIN = { top: 10, right: 14, bottom: 30, left: 52 };
const LOG_RATIO = 12; // a loss that falls by more is drawn on a logarithmic axis

/** Return a chart of lines over epochs; its readout says the values at the pointer. */
function chart(title, format) {
  const drawing = svg("svg", { role: "img" });
  const legend = element("p", { class: "legend" });
  const readout = element("p", { class: "readout muted", "aria-hidden": "true" });
  const heading = element("h3", {}, title);
  const node = element("figure", { class: "chart" }, element("div", { class: "chart-head" }, heading, legend), drawing, readout);
  const isLoss = title === "Loss";
  let content = { lines: [], planned: 0, best: null };
  let place = null;

  function draw() {
    const width = node.clientWidth;
    if (!width) return;
    const { lines, planned, best } = content;
    const points = lines.flatMap((line) => line.points);
    place = scales(points, planned, width, isLoss);
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    drawing.setAttribute("width", width);
    drawing.setAttribute("height", HEIGHT);
    drawing.setAttribute("aria-label", describe(title, lines, format));
    drawing.replaceChildren(
      ...axes(place, width, isLoss ? number : (value) => `${Number((100 * value).toFixed(2))} %`),
      ...(best && points.length ? bestMark(place, best, isLoss ? MARGIN.top + 10 : HEIGHT - MARGIN.bottom - 6) : []),
      ...lines.flatMap((line) => curve(line, place)),
      svg("line", { class: "pointer", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" }),
    );
    legend.replaceChildren(...lines.map(({ label, style }) => element("span", { class: `key line-${style}` }, label)));
    readout.textContent = points.length ? (place.isLog ? "logarithmic axis" : "") : "The first point comes after the first epoch.";
  }

  function point(event) {
    const { lines } = content;
    const x = event.clientX - drawing.getBoundingClientRect().left;
    const epochs = [...new Set(lines.flatMap((line) => line.points.map(([epoch]) => epoch)))];
    if (!epochs.length) return;
    const epoch = epochs.reduce((near, each) => (Math.abs(place.x(each) - x) < Math.abs(place.x(near) - x) ? each : near));
    const mark = drawing.querySelector(".pointer");
    mark.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) mark.setAttribute(end, place.x(epoch));
    const values = lines.map(({ label, points }) => [label, points.find(([each]) => each === epoch)?.[1]]);
    const known = values.filter(([, value]) => value !== undefined).map(([label, value]) => `${label} ${format(value)}`);
    readout.textContent = `epoch ${epoch}: ${known.join(", ")}`;
  }

  drawing.addEventListener("pointermove", point);
  drawing.addEventListener("pointerdown", point);
  drawing.addEventListener("pointerleave", draw);
  return {
    node,
    draw,
    update(lines, planned, best) {
      content = { lines, planned, best };
      draw();
    },
  };
}

/** Return the chart in words, for screen readers. */
function describe(title, lines, format) {
  const known = lines.filter((line) => line.points.length);
  if (!known.length) return `${title}: no epoch is complete yet.`;
  const parts = known.map(({ label, points }) => {
    const [[first, from], [last, to]] = [points[0], points.at(-1)];
    return first === last ? `${label} ${format(to)}` : `${label} from ${format(from)} to ${format(to)}`;
  });
  const epochs = known.flatMap((line) => line.points.map(([epoch]) => epoch));
  return `${title} over epochs ${Math.min(...epochs)} to ${Math.max(...epochs)}: ${parts.join("; ")}.`;
}

/** Return functions from epochs and values to pixels, and the ticks of both axes. */
function scales(points, planned, width, isLoss) {
  const values = points.map(([, value]) => value);
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const lastEpoch = Math.max(2, planned || 0, ...points.map(([epoch]) => epoch));
  const isLog = isLoss && low > 0 && high / low > LOG_RATIO;
  const yTicks = isLog ? logTicks(low, high) : niceTicks(isLoss ? 0 : low, isLoss ? high : 1);
  const warp = isLog ? Math.log : (value) => value;
  const bottom = warp(isLog ? Math.min(low, yTicks[0]) : yTicks[0]);
  const top = warp(Math.max(high, yTicks.at(-1)));
  const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  return {
    isLog,
    yTicks,
    xTicks: [1, ...niceTicks(1, lastEpoch).filter((tick) => Number.isInteger(tick) && tick > 1 && tick <= lastEpoch)],
    x: (epoch) => MARGIN.left + (inner.width * (epoch - 1)) / (lastEpoch - 1),
    y: (value) => MARGIN.top + inner.height * (1 - (warp(value) - bottom) / (top - bottom || 1)),
  };
}

/** Return about five round numbers from at most `low` to at least `high`. */
function niceTicks(low, high) {
  const span = high - low || 0.01;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => span / each <= 5);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** Return 1, 2 and 5 times the powers of ten between the numbers, or only the powers if these are many. */
function logTicks(low, high) {
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) powers.push(10 ** power);
  const factors = high / low > 300 ? [1] : [1, 2, 5];
  const ticks = powers.flatMap((power) => factors.map((factor) => Number((factor * power).toPrecision(3))));
  return ticks.filter((tick) => tick >= low * 0.8 && tick <= high * 1.25);
}

function axes({ x, y, xTicks, yTicks }, width, format) {
  const right = width - MARGIN.right;
  const text = (attributes, content) => {
    const made = svg("text", attributes);
    made.textContent = content;
    return made;
  };
  return [
    ...yTicks.flatMap((tick) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(tick), y2: y(tick) }),
      text({ x: MARGIN.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
    ]),
    ...xTicks.map((tick) => text({ x: x(tick), y: HEIGHT - 10, "text-anchor": "middle" }, tick)),
    text({ x: MARGIN.left - 12, y: HEIGHT - 10, "text-anchor": "end" }, "epoch"),
  ];
}

/** Return the line of a curve, and its points while they are few. */
function curve({ points, style }, { x, y }) {
  const path = points.map(([epoch, value], index) => `${index ? "L" : "M"}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const dots = points.length > 40 ? points.slice(-1) : points;
  return [
    svg("path", { class: `curve line-${style}`, d: path }),
    ...dots.map(([epoch, value]) => svg("circle", { class: `line-${style}`, cx: x(epoch), cy: y(value), r: 2.6 })),
  ];
}

/** Mark the best epoch; `y` is the height of its label, where the curves usually are not. */
function bestMark({ x }, best, y) {
  const isRight = x(best) > 120;
  const label = svg("text", { class: "best-mark", x: x(best) + (isRight ? -5 : 5), y, "text-anchor": isRight ? "end" : "start" });
  label.textContent = `best: ${best}`;
  return [svg("line", { class: "best-mark", x1: x(best), x2: x(best), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }), label];
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
