// Train: settings, a run that goes step by step, what changes as it learns.

import { ask, attempt, say } from "./asking.js";
import { drawChart, drawMinis, fromZero, upToOne } from "./charts.js";
import { bytes, drawWeights, element, inkImage, percent } from "./showing.js";

const at = (id) => document.getElementById(id);
const form = at("settings");
const PACE = 70; // milliseconds: small data sets would be over before one has looked
const least = (p) => `${Math.floor(Math.min(99.9, 100 * p) * 10) / 10} %`; // short, never 100 %
const WHOLE = ["width", "depth", "batch", "seed"], NUMBERS = ["rate", "dropout"];

let choices = null, loading = null;
let run = null, last = null, kept = null;
let onUse = null;
let goal = 0, driving = false; // goal: rows of the history that are wanted, the first one before any step
const running = () => goal > 1;

export function begin(use) {
  onUse = use;
}

export function shown() {
  loading ??= attempt(load);
  loading.then(redraw);
}

async function load() {
  at("standing").textContent = "Loading data sets …";
  do choices = await ask("choices"); while (!choices.choices);
  for (const [name, values] of Object.entries(choices.choices)) {
    form.elements[name].replaceChildren(...values.map((v) => element("option", { value: v }, v)));
  }
  for (const [name, most] of Object.entries(choices.limits)) form.elements[name].max = most;
  const given = new URL(location).searchParams;
  const wrong = [];
  for (const [name, value] of Object.entries(choices.settings)) {
    const field = form.elements[name], wanted = given.get(name);
    field.value = value;
    if (wanted === null) continue;
    field.value = wanted;
    if (field.value !== wanted || !field.checkValidity()) {
      field.value = value;
      wrong.push(`${name} = ${wanted.slice(0, 40)}`);
    }
  }
  if (!at("train").hidden) inAddress();
  await rewind();
  if (wrong.length) say(`The address asks for what is not to be had here: ${wrong.join(", ")}.`);
}

function settings() {
  const values = {};
  for (const { name, value } of form.elements) {
    values[name] = WHOLE.includes(name) || NUMBERS.includes(name) ? Number(value) : value;
  }
  return values;
}

export function remember(address) {
  if (!choices) return;
  for (const { name, value } of form.elements) address.searchParams.set(name, value);
}

function inAddress() {
  const address = new URL(location);
  remember(address);
  history.replaceState(null, "", address);
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => {
  if (!form.reportValidity()) return;
  stop();
  inAddress();
  attempt(rewind);
});

// ---- the run

let begun = Promise.resolve();  // one after another: the last settings are the run's

function rewind() {
  const mine = begun.then(fresh);
  begun = mine.catch(() => {});
  return mine;
}

async function fresh() {
  say("");
  goal = 0;
  while (driving) await new Promise((done) => setTimeout(done, 10));
  const chosen = settings();
  run = { settings: chosen, ...(await ask("begin", { settings: chosen })), rows: [] };
  run.rows = run.history;
  last = run;
  at("python").hidden = true;
  at("code").setAttribute("aria-expanded", false);
  at("weights").replaceChildren();
  at("tests").replaceChildren(...run.images.map((text, i) => {
    const name = `Test image: ${run.classes[run.labels[i]]}`;
    return element("div", { className: "test" }, inkImage(bytes(text), run.shape[1], name),
      element("canvas", { className: "minis" }), element("p"));
  }));
  document.querySelector("#train .inside").classList.remove("loading");
  redraw();
  toward(1);
}

async function advance() {
  const pace = new Promise((done) => setTimeout(done, PACE));
  const answer = await attempt(() => ask("advance", { known: run.rows.length }));
  if (!answer) goal = 0;
  else {
    run.rows = [...run.rows, ...answer.history];
    last = answer;
    redraw();
    if (answer.ended) {
      goal = 0;
      say(answer.ended);
    }
  }
  await pace;
}

// Goes on until the history has so many rows, or the goal has changed.
async function toward(rows) {
  goal = rows;
  buttons();
  if (driving) return;
  driving = true;
  while (run.rows.length < goal) await advance();
  driving = false;
  stop();
}

function stop() {
  goal = Math.min(goal, 1);
  buttons();
  redraw();
}

function buttons() {
  at("start").textContent = running() ? "Pause" : "Start";
  at("step").disabled = running();
  at("standing").setAttribute("aria-live", running() ? "off" : "polite"); // read out where it stops
  at("keep").disabled = !run || run.rows.length < 2;
  at("use-run").disabled = running() || !run;
}

at("start").addEventListener("click", async () => {
  if (running()) return stop();
  await begun;
  if (run) toward(Infinity);
});
at("step").addEventListener("click", async () => {
  await begun;
  if (run && !running()) toward(run.rows.length + 1);
});
at("rewind").addEventListener("click", () => attempt(rewind));
addEventListener("keydown", (event) => {
  if (at("train").hidden || event.key !== " " || event.target !== document.body) return;
  event.preventDefault();
  at("start").click();
});
document.addEventListener("visibilitychange", () => document.hidden && stop());

at("keep").addEventListener("click", () => {
  kept = { rows: run.rows, settings: run.settings };
  at("drop").disabled = false;
  redraw();
});
at("drop").addEventListener("click", () => {
  kept = null;
  at("drop").disabled = true;
  redraw();
});

// ---- what is seen of it

function redraw() {
  if (!run || at("train").hidden) return;
  const rows = run.rows, row = rows[rows.length - 1];
  buttons();
  at("standing").textContent = standing(row);
  at("share").value = last.share || last.measured;
  const before = kept?.rows ?? [];
  drawChart(at("chart-loss"), "loss", rows, before, [1, 2], fromZero);
  drawChart(at("chart-accuracy"), "accuracy", rows, before, [3, 4], upToOne);
  if (row) {
    at("chart-accuracy").setAttribute("aria-label",
      `Accuracy after epoch ${row[0]}: training ${percent(row[3] ?? 0)}, test ${percent(row[4] ?? 0)}`);
    at("chart-loss").setAttribute("aria-label",
      `Loss after epoch ${row[0]}: training ${row[1]}, test ${row[2]}`);
  }
  legend();
  weights();
  tests();
}

function standing(row) {
  const part = (share) => `${Math.round(100 * share)} %`;
  const now = last.measured ? `, ${part(last.measured)} evaluated` :
    last.share ? `, ${part(last.share)} of the next` : "";
  const score = row && row[4] !== null ?
    `: ${percent(row[4])} of ${run.test.toLocaleString("en")} test images` : "";
  return `Epoch ${last.epoch}${now}${score}`;
}

function legend() {
  const entry = (name, text) => element("span", {},
    element("span", { className: `swatch ${name}` }), text);
  at("legend").replaceChildren(entry("test", "test"), entry("train", "training (dashed)"),
    ...(kept ? [entry("kept", "the kept run")] : []));
  at("kept-note").textContent = kept ? `Kept: ${difference(kept.settings)}` : "\u00a0";
}

function difference(other) {
  const now = settings();
  const names = Object.keys(now).filter((name) => now[name] !== other[name]);
  return names.length ? names.map((name) => `${name} ${other[name]}`).join(", ") : "the same settings";
}

function weights() {
  const all = bytes(last.weights), size = run.shape[0] * run.shape[1];
  const count = all.length / size, grid = at("weights");
  while (grid.children.length < count) grid.append(element("canvas", { className: "pixels" }));
  grid.setAttribute("aria-label", `Weights of the first ${count} units, each an image`);
  [...grid.children].forEach((canvas, i) => {
    drawWeights(canvas, all.subarray(i * size, (i + 1) * size), run.shape[1]);
  });
}

function tests() {
  [...at("tests").children].forEach((cell, i) => {
    if (!last.logits) return;
    const z = last.logits[i], guess = z.indexOf(Math.max(...z)), truth = run.labels[i];
    cell.classList.toggle("wrong", guess !== truth);
    drawMinis(cell.querySelector(".minis"), z, guess, truth);
    const name = run.classes[guess];
    cell.querySelector("p").textContent = guess === truth
      ? `${name} ${least(last.probabilities[i][guess])}` : `${name}, not ${run.classes[truth]}`;
  });
}

addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

at("code").addEventListener("click", async () => {
  const box = at("python");
  if (!box.hidden) {
    box.hidden = true;
    at("code").setAttribute("aria-expanded", false);
    return;
  }
  const epochs = Math.max(1, run?.rows.length - 1 || 1);
  const found = await attempt(() => ask("code", { settings: settings(), epochs }));
  if (!found) return;
  box.textContent = found.code;
  box.hidden = false;
  at("code").setAttribute("aria-expanded", true);
  box.scrollIntoView({ block: "nearest" });
});

at("use-run").addEventListener("click", async () => {
  stop();
  const found = await attempt(() => ask("use", { source: "run" }));
  if (found) onUse(found.network);
});
