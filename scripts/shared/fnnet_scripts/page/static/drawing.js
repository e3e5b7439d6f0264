// Draw: strokes, what the network makes of them, lessons.

import { ask, askAtOnce, attempt } from "./asking.js";
import {
  bytes, drawInk, drawUnits, drawWeights, element, floats, formula, hidePop, inkImage, number, percent,
  showPop,
} from "./showing.js";

const at = (id) => document.getElementById(id);
const bars = document.querySelector("table.bars");
const canvas = at("canvas"), pen = canvas.getContext("2d");
const dark = matchMedia("(prefers-color-scheme: dark)");

let network = null;
let strokes = [], base = null, current = null;
let answer = null, hidden = [], label = null;
let asking = false, since = null; // since: when what was drawn last began to wait

export function begin(described, own = false) {
  network = described;
  strokes = [];
  base = null;
  label = null;
  at("about").textContent = `${network.about}.`;
  at("use-first").hidden = !own;
  at("examples").replaceChildren(...network.examples.slice(0, 20).map(example));
  at("start-from").hidden = !network.examples.length;
  const short = network.classes.every((name) => name.length < 3);
  for (const each of [bars, at("verdict")]) each.classList.toggle("short", short);
  at("bars").replaceChildren(...network.classes.map(bar));
  at("labels").classList.toggle("long", !short);
  at("hint").textContent = invitation();
  at("labels").replaceChildren(...network.classes.map(lessonButton));
  at("hidden").replaceChildren(...network.columns.map(layer));
  if (!network.columns.length) at("hidden").textContent = "This network has none.";
  at("reset").disabled = true;
  at("lesson").textContent = "\u00a0";
  document.querySelector("#draw .flow").classList.remove("loading");
  paint();
  changed();
}

export function shown() {
  paint();
}

// ---- strokes

const invitation = () =>
  network.classes.every((name) => /^\d$/.test(name)) ? "Draw a digit" : "Draw something";

function place(event, box) {
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
    .map((v) => Math.round(Math.min(2, Math.max(-1, v)) * 1e4) / 1e4);
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || current) return;
  canvas.setPointerCapture(event.pointerId);
  const box = canvas.getBoundingClientRect(); // which stays where it is for a stroke
  current = { id: event.pointerId, box, points: [place(event, box)] };
  strokes.push(current.points);
  keys = false;
  paint();
  changed(event);
});
// Raw updates come at once, where a browser has them, and not with the next frame.
const moved = "onpointerrawupdate" in canvas ? "pointerrawupdate" : "pointermove";
canvas.addEventListener(moved, (event) => {
  if (current?.id !== event.pointerId) return;
  const events = event.getCoalescedEvents?.() ?? [], from = current.points.length - 1;
  for (const each of events.length ? events : [event]) current.points.push(place(each, current.box));
  ink(current.points.slice(from));
  changed(event);
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    if (current?.id !== event.pointerId) return;
    current = null;
    paint(); // in one piece: pieces drawn over each other have harder edges
  });
}
canvas.addEventListener("touchmove", (event) => event.preventDefault(), { passive: false });

// With keys: a pen that is moved by the arrows and lowered by the space bar.
let cursor = [0.5, 0.2], lowered = null, keys = false;
canvas.addEventListener("keydown", (event) => {
  const by = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0],
  }[event.key];
  if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys = true;
  if (event.key === " ") {
    lowered = lowered && strokes.includes(lowered) ? null : [[...cursor]];
    if (lowered) strokes.push(lowered);
  } else {
    cursor = cursor.map((v, i) =>
      Math.round(1e4 * Math.min(0.98, Math.max(0.02, v + 0.02 * by[i]))) / 1e4);
    if (lowered && strokes.includes(lowered)) lowered.push([...cursor]);
  }
  paint();
  changed(event);
});
canvas.addEventListener("blur", () => {
  lowered = null;
  keys = false;
  paint();
});

function undo() {
  if (strokes.length) strokes.pop();
  else base = null;
  current = null;
  paint();
  changed();
}

function clear() {
  strokes = [];
  base = null;
  current = null;
  label = null;
  at("lesson").textContent = "\u00a0";
  paint();
  changed();
}

at("undo").addEventListener("click", undo);
at("clear").addEventListener("click", clear);
at("width").addEventListener("input", (event) => {
  paint();
  changed(event);
});
addEventListener("keydown", (event) => {
  if (at("draw").hidden || /INPUT|SELECT/.test(event.target.tagName)) return;
  if (event.key === "Escape") hidePop();
  else if (event.key === "Delete") clear();
  else if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else return;
  event.preventDefault();
});

const width = () => Number(at("width").value) / 100;

// The drawing as it was made.
function paint() {
  const side = Math.round(canvas.clientWidth * devicePixelRatio) || 560;
  if (canvas.width !== side) canvas.width = canvas.height = side;
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, side, side);
  if (base !== null) {
    const image = element("canvas");
    drawInk(image, bytes(network.examples[base]), network.side);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, 0, 0, side, side);
  }
  for (const stroke of strokes) ink(stroke);
  if (keys) {
    pen.beginPath();
    pen.arc(cursor[0] * side, cursor[1] * side, pen.lineWidth / 2, 0, 7);
    pen.lineWidth = 2 * devicePixelRatio;
    pen.strokeStyle = "#0072b2";
    pen.stroke();
  }
}

function ink(points) {
  const side = canvas.width;
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = width() * side;
  pen.strokeStyle = "#1a1a1a";
  pen.beginPath();
  pen.moveTo(points[0][0] * side, points[0][1] * side);
  for (const [x, y] of points) pen.lineTo(x * side, y * side);
  pen.stroke();
}

new ResizeObserver(paint).observe(canvas);
dark.addEventListener("change", () => answer && show(answer));

// What was drawn is asked about once the answer before is there: the last drawing always is.
function changed(event) {
  const empty = !strokes.length && base === null;
  at("undo").disabled = at("clear").disabled = empty;
  at("hint").hidden = !empty;
  since ??= event?.timeStamp ?? performance.now();
  if (!asking) follow();
}

async function follow() {
  asking = true;
  bars.setAttribute("aria-busy", true);
  while (since !== null) {
    const start = since;
    since = null;
    await attempt(async () => {
      show(await askAtOnce("see", { strokes, width: width(), base }));
      performance.measure("stroke to bars", { start });
      performance.clearMeasures(); // whoever observes them has them
    });
  }
  asking = false;
  bars.setAttribute("aria-busy", false);
}

function example(text, i) {
  const name = network.classes[network.labels[i]];
  const image = inkImage(bytes(text), network.side);
  const button = element("button", { title: `A test image: ${name}` }, image);
  button.setAttribute("aria-label", `Test image ${i + 1}: ${name}`);
  button.addEventListener("click", () => {
    strokes = [];
    base = i;
    label = null;
    paint();
    changed();
  });
  return button;
}

// ---- the answer

function bar(name) {
  const row = element("tr", {}, element("th", { scope: "row", title: name }, name));
  const track = element("div", { className: "track" },
    element("div", { className: "fill" }), element("span"));
  row.append(element("td", {}, track), element("td", {}, element("span")));
  return row;
}

// Text that stays the same costs no layout, and is not read out again.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show(result) {
  answer = result;
  drawInk(at("seen"), bytes(result.image), network.side);
  const { logits, probabilities: p, blank } = result;
  const guess = logits.indexOf(Math.max(...logits));
  const high = Math.max(...logits), low = Math.min(...logits);
  const from = low - 0.05 * (high - low), reach = high - from || 1;
  [...at("bars").rows].forEach((row, k) => {
    const share = blank ? 0 : (logits[k] - from) / reach;
    row.querySelector(".fill").style.transform = `scaleX(${share})`;
    const value = row.querySelector("span");
    write(value, blank ? "" : number(logits[k]));
    value.style.transform = `translateX(${share < 0.3 ? 100 * share : 0}%)`;
    write(row.cells[2].firstChild, blank ? "" : percent(p[k]));
    row.classList.toggle("guess", !blank && k === guess);
    row.classList.toggle("wrong", !blank && k === guess && label !== null && label !== guess);
    row.classList.toggle("true", !blank && k === label);
    row.classList.toggle("inside", !blank && (k === guess || k === label) && share >= 0.3);
  });
  const sure = p[guess] > 0.9 ? "" : p[guess] > 0.5 ? ", perhaps" : ", hardly sure";
  const text = blank ? `${invitation()}.` : `${network.classes[guess]}${sure} (${percent(p[guess])})`;
  write(at("verdict"), text);
  hidden = result.hidden.map((text) => blank ? new Float32Array(floats(text).length) : floats(text));
  hidden.forEach((values, i) => {
    const grid = at("hidden").children[i].querySelector("canvas");
    drawUnits(grid, values, network.columns[i], dark.matches);
  });
  for (const button of at("labels").children) button.disabled = blank;
}

// ---- hidden units

function layer(columns, i) {
  const units = network.sizes[i + 1];
  const grid = element("canvas", { className: "units", tabIndex: 0 });
  grid.width = columns;
  grid.height = Math.ceil(units / columns);
  grid.setAttribute("role", "img");
  grid.setAttribute("aria-label", `Activations of the ${units} units of hidden layer ${i + 1}; ` +
    "arrow keys move from unit to unit");
  const mark = element("div", { className: "mark", hidden: true });
  let chosen = -1, wanted = 0;
  const look = async (unit) => {
    if (unit < 0 || unit >= units || unit === chosen) return;
    chosen = unit;
    const column = unit % columns, row = Math.floor(unit / columns);
    mark.style.left = `${(100 * column) / columns}%`;
    mark.style.top = `${(100 * row) / grid.height}%`;
    mark.style.width = `${100 / columns}%`;
    mark.style.height = `${100 / grid.height}%`;
    mark.hidden = false;
    const ticket = ++wanted;
    const found = await attempt(() => ask("unit", { layer: i, unit }));
    if (!found || ticket !== wanted) return;
    const picture = element("canvas");
    drawWeights(picture, bytes(found.weights), found.columns);
    const box = grid.getBoundingClientRect(), size = box.width / columns;
    const left = box.left + column * size, top = box.top + row * size;
    const h = hidden[i]?.[unit] ?? 0;
    showPop({ left, top, bottom: top + size }, element("div", { className: "unit" }, picture,
      element("div", {}, element("p", { className: "name" }, `Unit ${unit} of layer ${i + 1}`),
        element("p", {}, `Its activation is ${h.toFixed(2)}.`),
        element("p", {}, `Its weights from ${i ? `layer ${i}` : "the image"} reach ±${found.largest.toFixed(2)}.`),
        element("p", { className: "note" }, element("span", { className: "key blue" }), " excites ",
          element("span", { className: "key red" }), " inhibits"))));
  };
  const leave = () => {
    chosen = -1;
    wanted++;
    mark.hidden = true;
    hidePop();
  };
  grid.addEventListener("pointermove", (event) => {
    const box = grid.getBoundingClientRect(), size = box.width / columns;
    look(Math.floor((event.clientY - box.top) / size) * columns +
      Math.floor((event.clientX - box.left) / size));
  });
  grid.addEventListener("pointerdown", (event) => event.pointerType !== "mouse" && (chosen = -1));
  grid.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && leave());
  grid.addEventListener("blur", leave);
  grid.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    look(Math.max(0, Math.min(units - 1, chosen < 0 ? 0 : chosen + by)));
  });
  const f = network.activation;
  return element("div", { className: "layer" },
    element("p", {}, `Layer ${i + 1}: ${units} units, ${f}`),
    element("div", { className: "grid" }, grid, mark));
}

// ---- equations

for (const button of document.querySelectorAll("button.eq")) {
  const n = Number(button.dataset.number);
  button.setAttribute("aria-label", `Equation ${n}`);
  button.setAttribute("aria-describedby", "pop");
  let inside = false;
  const look = async () => {
    inside = true;
    const found = await attempt(() => ask("equation", { number: n, label }));
    if (!found || !inside) return;
    showPop(button.getBoundingClientRect(),
      element("p", { className: "formula" }, ...formula(found.formula)),
      element("p", {}, ...formula(found.values)));
  };
  const leave = () => {
    inside = false;
    hidePop();
  };
  button.addEventListener("pointerenter", look);
  button.addEventListener("focus", look);
  button.addEventListener("click", look);
  button.addEventListener("pointerleave", leave);
  button.addEventListener("blur", leave);
}
addEventListener("scroll", hidePop, { passive: true });

// ---- lessons

function lessonButton(name, k) {
  const button = element("button", { title: `It is ${name}: teach it` }, name);
  button.setAttribute("aria-label", `It is ${name}: teach it`);
  button.addEventListener("click", () => teach(k));
  return button;
}

async function teach(k) {
  label = k;
  const result = await attempt(() => ask("teach", { label: k }));
  if (!result) return;
  show(result.answer);
  const { before, after, loss_before, loss_after, kept, examples, steps } = result.lesson;
  const line = at("lesson");
  line.replaceChildren(`“${network.classes[k]}”: `,
    element("span", { className: "change" }, `${percent(before)} → ${percent(after)}`),
    `, loss ${loss_before.toFixed(3)} → ${loss_after.toFixed(3)}.`);
  if (examples) line.append(` It reads ${kept} of its ${examples} examples.`);
  line.append(` Lessons: ${steps}.`);
  at("reset").disabled = false;
}

at("reset").addEventListener("click", async () => {
  const result = await attempt(() => ask("reset"));
  if (!result) return;
  label = null;
  at("lesson").textContent = "The network is as it was before all lessons.";
  at("reset").disabled = true;
  if (result.answer) show(result.answer);
});

at("use-first").addEventListener("click", async () => {
  const result = await attempt(() => ask("use", { source: "first" }));
  if (result) begin(result.network);
});
