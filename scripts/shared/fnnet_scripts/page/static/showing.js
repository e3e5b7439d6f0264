// Images and small texts: bytes from the server as pixels, formulas with subscripts.

export const BLUE = [33, 102, 172], RED = [178, 24, 43];

export function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

export const floats = (text) => new Float32Array(bytes(text).buffer);

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Ink on white paper.
export function drawInk(canvas, ink, columns) {
  fill(canvas, ink.length, columns, () => [0, 0, 0], (i) => ink[i] / 255);
}

// The same as an image: unlike a canvas it is not drawn anew in every frame.
export function inkImage(ink, columns, alt = "") {
  const canvas = element("canvas");
  drawInk(canvas, ink, columns);
  return element("img", { className: "pixels", src: canvas.toDataURL(), alt });
}

// Signed bytes: blue is positive, red negative, white zero.
export function drawWeights(canvas, signed, columns) {
  const weight = (i) => (signed[i] > 127 ? signed[i] - 256 : signed[i]) / 127;
  fill(canvas, signed.length, columns, (i) => (weight(i) > 0 ? BLUE : RED), weight);
}

// Activations: from paper to blue, below zero to red, on the scale of the largest.
export function drawUnits(canvas, values, columns, dark) {
  const most = values.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-9);
  const high = dark ? [88, 177, 228] : BLUE, low = dark ? [240, 110, 100] : RED;
  fill(canvas, values.length, columns, (i) => (values[i] > 0 ? high : low),
    (i) => values[i] / most, dark ? [27, 29, 32] : [255, 255, 255]);
}

// Pixels between paper and a colour, by a share from -1 to 1 whose sign is the colour's matter.
function fill(canvas, count, columns, colour, share, paper = [255, 255, 255]) {
  const rows = Math.ceil(count / columns);
  if (canvas.width !== columns || canvas.height !== rows) {
    canvas.width = columns;
    canvas.height = rows;
  }
  const image = new ImageData(columns, rows), data = image.data;
  for (let i = 0; i < count; i++) {
    const to = colour(i), part = Math.abs(share(i));
    for (let k = 0; k < 3; k++) data[4 * i + k] = paper[k] + (to[k] - paper[k]) * part;
    data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Text in which _{...} is a subscript and ^{...} a superscript.
export function formula(text) {
  return text.split(/([_^]\{[^}]*\})/).filter(Boolean).map((part) => {
    const match = /^([_^])\{(.*)\}$/.exec(part);
    return match ? element(match[1] === "_" ? "sub" : "sup", {}, match[2]) : part.replaceAll(" · ", "\u00a0·\u00a0");
  });
}

export function percent(p) {
  if (p > 0.9999) return "> 99.99 %";
  if (p < 0.0001) return "< 0.01 %";
  return `${(100 * p).toFixed(p > 0.999 || p < 0.001 ? 2 : 1)} %`;
}

export function number(v) {
  return v.toFixed(Math.abs(v) < 99.95 ? 1 : 0).replace(/^-0\.0$/, "0.0").replace("-", "−");
}

const pop = document.getElementById("pop");

export function showPop(beside, ...content) {
  pop.replaceChildren(...content);
  pop.hidden = false;
  pop.style.left = pop.style.top = "0"; // where nothing narrows it
  const { width, height } = pop.getBoundingClientRect();
  const left = Math.min(Math.max(12, beside.left), innerWidth - width - 12);
  const below = beside.bottom + 8;
  pop.style.left = `${left}px`;
  pop.style.top = `${below + height < innerHeight ? below : Math.max(8, beside.top - height - 8)}px`;
}

export function hidePop() {
  pop.hidden = true;
}
