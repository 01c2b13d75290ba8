// A form made from the JSON Schema of a config: one control for each key, whose changes are overrides, KEY=VALUE.

import { element } from "./app.js";

/** The keys that are shown first, as far as the config has them; the others are folded, by section. */
const COMMON = [
  ...["data.name", "data.limit", "data.batch_size", "model", "model.hidden", "model.channels", "model.activation", "model.dropout"],
  ...["loss", "optimizer", "optimizer.lr", "schedule", "training.epochs", "training.early_stopping", "report.weights_by_epoch", "seed"],
];

/** Keys that name files of the server, and choices that need them. */
const LOCAL = ["data.path", "data.extra", "data.root", "model.init_from", "model.freeze", "report.tensorboard", "training.teacher"];
const LOCAL_CHOICES = ["folder"];

/** Return the form; `onChange(path, text)` is called with a key and its new value as in an override. */
export function configForm(schema, onChange) {
  const controls = new Map(); // by path; they stay, so that the focus does
  const node = element("div");

  function control(field) {
    const known = controls.get(field.path);
    if (known?.kind === field.kind) return known;
    const made = newControl(field, (text) => onChange(field.path, text));
    controls.set(field.path, made);
    return made;
  }

  return {
    node,
    /**
     * Show a complete config; `errors` are messages by key, `changed` the keys that are marked. If it is null, the
     * config is an earlier one, and what was given since stays in its controls.
     */
    show(config, errors, changed) {
      const fields = fieldsOf(schema, config).filter(({ path }) => !LOCAL.includes(path));
      for (const field of fields) control(field).show(field, errors.get(field.path) ?? "", changed);
      const common = COMMON.map((path) => fields.find((field) => field.path === path)).filter(Boolean);
      const others = fields.filter((field) => !common.includes(field));
      place(node, [["", common], ...groups(others)], control);
    },
  };
}

/** Return the names of the sections with their fields. */
function groups(fields) {
  const found = new Map();
  for (const field of fields) {
    const name = field.path.includes(".") ? field.path.split(".")[0] : "general";
    found.set(name, [...(found.get(name) ?? []), field]);
  }
  return found;
}

/** Put the controls of the groups into `node`, only if other keys are shown than before. */
function place(node, parts, control) {
  const signature = JSON.stringify(parts.map(([name, fields]) => [name, fields.map(({ path, kind }) => [path, kind])]));
  if (node.dataset.signature === signature) return;
  const focused = document.activeElement;
  const open = new Set([...node.querySelectorAll("details[open]")].map((each) => each.dataset.name));
  node.dataset.signature = signature;
  node.replaceChildren(
    ...parts.map(([name, fields]) => {
      const list = element("div", { class: "fields" }, ...fields.map((field) => control(field).node));
      return name ? element("details", { "data-name": name, open: open.has(name) }, element("summary", {}, name), list) : list;
    }),
  );
  if (node.contains(focused)) focused.focus();
}

// --- from the schema to fields ---

/** Return the fields of a config: {path, kind, value, choices, nullable, description}, with those of its sections. */
function fieldsOf(schema, config) {
  const definitions = schema.$defs;
  const resolve = (spec) => (spec.$ref ? { ...definitions[spec.$ref.split("/").at(-1)], ...spec, $ref: undefined } : spec);
  const alternatives = (spec) => (spec.anyOf ?? spec.oneOf)?.flatMap((each) => (each.discriminator ? [each] : alternatives(each))) ?? [spec];

  function describe(path, spec, value) {
    const parts = alternatives(spec).filter((part) => part.$ref || part.discriminator || part.type !== "object");
    const union = parts.find((part) => part.discriminator);
    const plain = parts.map(resolve).find((part) => part.properties);
    const isSection = value !== null && typeof value === "object" && !Array.isArray(value);
    const nullable = parts.some((part) => part.type === "null");
    const base = { path, value, nullable, description: spec.description ?? "" };
    if (union) {
      const { mapping, propertyName } = union.discriminator;
      const names = [...new Set([...Object.keys(mapping), ...parts.flatMap((part) => part.enum ?? [])])];
      const section = isSection && resolve({ $ref: mapping[value[propertyName]] });
      const chosen = isSection ? value[propertyName] : value;
      return [{ ...base, kind: "select", value: chosen, choices: names }, ...(section ? children(path, section, value, propertyName) : [])];
    }
    if (plain && isSection) {
      const own = path && nullable ? [{ ...base, kind: "switch", value: true }] : [];
      return [...own, ...children(path, plain, value)];
    }
    if (plain && nullable) return [{ ...base, kind: "switch", value: false }];
    const choices = parts.flatMap((part) => part.enum ?? (part.const === undefined ? [] : [part.const]));
    const isChoice = choices.length && parts.every((part) => part.enum || part.const !== undefined || part.type === "null");
    if (isChoice && choices.length > 1) return [{ ...base, kind: "select", choices: choices.filter((each) => !LOCAL_CHOICES.includes(each)) }];
    if (isChoice) return [];
    return [{ ...base, kind: spec.type === "boolean" ? "check" : "text" }];
  }

  function children(path, section, value, without) {
    const keys = Object.keys(section.properties).filter((key) => key !== without && key in value);
    return keys.flatMap((key) => describe(path ? `${path}.${key}` : key, section.properties[key], value[key]));
  }

  return children("", schema, config);
}

// --- controls ---

/** Return the control of a field: its element, and `show`, which updates it. */
function newControl(field, onText) {
  const { path, kind } = field;
  const id = `field-${path}`;
  const error = element("p", { class: "doubt", id: `${id}-error` });
  const hint = element("p", { class: "hint", id: `${id}-hint` });
  const input = { select: selectInput, check: checkInput, switch: switchInput, text: textInput }[kind](onText);
  for (const [name, value] of [["id", id], ["aria-describedby", `${id}-hint ${id}-error`]]) input.node.setAttribute(name, value);
  const node = element("div", { class: `field field-${kind}` }, element("label", { for: id }, path), input.node, hint, error);
  return {
    kind,
    node,
    show(now, message, changed) {
      if (changed || !node.isConnected) input.show(now);
      hint.textContent = now.description;
      error.textContent = message;
      error.hidden = !message;
      input.node.setAttribute("aria-invalid", String(Boolean(message)));
      if (changed) node.classList.toggle("changed", changed.has(path));
    },
  };
}

function selectInput(onText) {
  const node = element("select", { onchange: () => onText(node.value) });
  return {
    node,
    show({ choices, value, nullable }) {
      const names = nullable ? ["null", ...choices] : choices;
      if (node.dataset.names !== names.join()) {
        node.dataset.names = names.join();
        node.replaceChildren(...names.map((name) => element("option", { value: name }, name === "null" ? "none" : String(name))));
      }
      node.value = String(value);
    },
  };
}

function checkInput(onText) {
  const node = element("input", { type: "checkbox", onchange: () => onText(String(node.checked)) });
  return { node, show: ({ value }) => (node.checked = value) };
}

/** A section that is there, with its default values, or not. */
function switchInput(onText) {
  const node = element("input", { type: "checkbox", onchange: () => onText(node.checked ? "{}" : "null") });
  return { node, show: ({ value }) => (node.checked = value) };
}

function textInput(onText) {
  const node = element("input", { type: "text", autocomplete: "off", spellcheck: "false", oninput: () => onText(node.value.trim() || "null") });
  return {
    node,
    show({ value, nullable }) {
      node.placeholder = nullable ? "not set" : "";
      if (document.activeElement !== node) node.value = textOf(value);
    },
  };
}

/** Return a value as it is written in an override: `[64, 32]`; null is an empty text. */
function textOf(value) {
  return value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value).replaceAll(",", ", ").replaceAll('"', "");
}
