// Train: settings, a run that goes step by step, what changes as it learns.

import { ask, attempt, say } from "./asking.js";
import { drawChart, drawMinis, fromZero, upToOne } from "./charts.js";
import { bytes, drawInk, drawWeights, element, percent } from "./showing.js";

const at = (id) => document.getElementById(id);
const form = at("settings");
const PACE = 70; // milliseconds: small data sets would be over before one has looked
const least = (p) => `${Math.floor(Math.min(99.9, 100 * p) * 10) / 10} %`; // short, never 100 %
const WHOLE = ["width", "depth", "batch", "seed"], NUMBERS = ["rate", "dropout"];

let choices = null, loading = null;
let run = null, last = null, kept = null;
let running = false, busy = false, onUse = null;

export function begin(use) {
  onUse = use;
}

export function shown() {
  loading ??= attempt(load);
  loading.then(redraw);
}

async function load() {
  choices = await ask("choices");
  for (const [name, values] of Object.entries(choices.choices)) {
    form.elements[name].replaceChildren(...values.map((v) => element("option", { value: v }, v)));
  }
  for (const [name, most] of Object.entries(choices.limits)) form.elements[name].max = most;
  const given = new URL(location).searchParams;
  let wrong = "";
  for (const [name, value] of Object.entries(choices.settings)) {
    const field = form.elements[name], wanted = given.get(name);
    field.value = value;
    if (wanted === null) continue;
    field.value = wanted;
    if (field.value !== wanted || !field.checkValidity()) {
      field.value = value;
      wrong = `The address says ${name} = ${wanted.slice(0, 40)}, which is not to be had here.`;
    }
  }
  await rewind();
  if (wrong) say(wrong);
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

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => {
  if (!form.reportValidity()) return;
  stop();
  const address = new URL(location);
  remember(address);
  history.replaceState(null, "", address);
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
  stop();
  say("");
  while (busy) await new Promise((done) => setTimeout(done, 10));
  const chosen = settings();
  run = { settings: chosen, ...(await ask("begin", { settings: chosen })), rows: [] };
  run.rows = run.history;
  last = run;
  at("python").hidden = true;
  at("code").setAttribute("aria-expanded", false);
  at("weights").replaceChildren();
  at("tests").replaceChildren(...run.images.map((text, i) => {
    const image = element("canvas", { className: "pixels" });
    drawInk(image, bytes(text), run.shape[1]);
    return element("div", { className: "test" }, image,
      element("canvas", { className: "minis" }), element("p"));
  }));
  redraw();
}

async function advance() {
  busy = true;
  const mine = run, pace = new Promise((done) => setTimeout(done, PACE));
  const answer = await attempt(() => ask("advance", { known: mine.rows.length }));
  await pace;
  busy = false;
  if (!answer) return stop();
  if (mine !== run) return;
  run.rows = [...run.rows, ...answer.history];
  last = answer;
  redraw();
  if (answer.ended) {
    stop();
    say(answer.ended);
  }
}

async function start() {
  running = true;
  buttons();
  while (running) await advance();
}

function stop() {
  running = false;
  buttons();
}

async function epoch() {
  const rows = run.rows.length, mine = run;
  running = true;
  buttons();
  while (running && mine === run && run.rows.length === rows) await advance();
  if (mine === run) stop();
}

function buttons() {
  at("start").textContent = running ? "Pause" : "Start";
  at("step").disabled = running;
  at("keep").disabled = !run || run.rows.length < 2;
  at("use-run").disabled = running || !run;
}

at("start").addEventListener("click", async () => {
  if (running) return stop();
  await begun;
  if (run && !busy && !running) start();
});
at("step").addEventListener("click", async () => {
  await begun;
  if (run && !busy && !running) epoch();
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
  const training = last.share ? `, ${Math.round(100 * last.share)} % of the next` : "";
  at("standing").textContent = row[4] === null ? `Epoch ${last.epoch}` :
    `Epoch ${last.epoch}${training}: ${percent(row[4])} of ${run.test.toLocaleString("en")} test images`;
  at("share").value = last.share;
  const before = kept?.rows ?? [];
  drawChart(at("chart-loss"), "loss", rows, before, [1, 2], fromZero);
  drawChart(at("chart-accuracy"), "accuracy", rows, before, [3, 4], upToOne);
  at("chart-accuracy").setAttribute("aria-label",
    `Accuracy after epoch ${row[0]}: training ${percent(row[3] ?? 0)}, test ${percent(row[4] ?? 0)}`);
  at("chart-loss").setAttribute("aria-label",
    `Loss after epoch ${row[0]}: training ${row[1]}, test ${row[2]}`);
  legend();
  weights();
  tests();
  buttons();
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
  [...grid.children].forEach((canvas, i) => {
    drawWeights(canvas, all.subarray(i * size, (i + 1) * size), run.shape[1]);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Weights of unit ${i}`);
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
