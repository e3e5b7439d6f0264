// Curves of a run, with those of a kept run behind them.

import { colour } from "./showing.js";

// rows: [epoch, train loss, test loss, train accuracy, test accuracy]
export function drawChart(canvas, title, rows, kept, columns, bounds) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  c.font = "12px system-ui, sans-serif";
  const left = 44, right = width - 10, top = 24, bottom = height - 24;
  const all = [...rows, ...kept];
  const values = all.flatMap((row) => columns.map((k) => row[k])).filter((v) => v !== null);
  const last = Math.max(1, ...all.map((row) => row[0]));
  const [low, high] = bounds(values);
  const x = (epoch) => left + ((right - left) * epoch) / last;
  const y = (v) => bottom - ((bottom - top) * (v - low)) / (high - low);
  c.fillStyle = colour("--soft");
  c.textBaseline = "alphabetic";
  c.fillText(title, left, 12);
  c.strokeStyle = colour("--line");
  c.lineWidth = 1;
  c.textAlign = "right";
  c.textBaseline = "middle";
  const step = tick((high - low) / 4);
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) {
    c.beginPath();
    c.moveTo(left, Math.round(y(v)) + 0.5);
    c.lineTo(right, Math.round(y(v)) + 0.5);
    c.stroke();
    c.fillText(title === "accuracy" ? `${Math.round(v * 1000) / 10} %` : `${+v.toFixed(3)}`, left - 6, y(v));
  }
  c.textAlign = "center";
  c.textBaseline = "top";
  const epochs = Math.max(1, Math.round(tick(last / 5)));
  for (let e = 0; e <= last; e += epochs) c.fillText(e, x(e), bottom + 6);
  c.beginPath();
  c.rect(left - 3, top - 3, right - left + 6, bottom - top + 6);
  c.clip();
  const line = (data, k, stroke, dash) => {
    c.strokeStyle = c.fillStyle = stroke;
    c.lineWidth = 2;
    c.setLineDash(dash);
    c.beginPath();
    const shown = data.filter((row) => row[k] !== null);
    shown.forEach((row, i) => c[i ? "lineTo" : "moveTo"](x(row[0]), y(row[k])));
    c.stroke();
    c.setLineDash([]);
    if (shown.length < 40) for (const row of shown) {
      c.beginPath();
      c.arc(x(row[0]), y(row[k]), 2, 0, 7);
      c.fill();
    }
  };
  line(kept, columns[0], colour("--kept"), [4, 4]);
  line(kept, columns[1], colour("--kept"), []);
  line(rows, columns[0], colour("--orange"), [4, 4]);
  line(rows, columns[1], colour("--blue"), []);
}

function tick(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough * 0.999);
}

export const fromZero = (values) => [0, Math.max(0.1, ...values) * 1.05];

export function upToOne(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const least = sorted[Math.floor(sorted.length * 0.15)] ?? 0;
  return [Math.max(0, Math.floor(least * 10 - 0.5) / 10), 1];
}

// Bars of logits: the prediction blue where right, orange where wrong, the truth dark.
export function drawMinis(canvas, logits, guess, truth) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  const high = Math.max(...logits), low = Math.min(...logits), from = low - 0.08 * (high - low);
  const slot = width / logits.length;
  logits.forEach((z, k) => {
    const tall = ((z - from) / (high - from || 1)) * height;
    const right = guess === truth;
    c.fillStyle = colour(k === guess ? (right ? "--blue" : "--orange") : k === truth ? "--ink" : "--grey");
    c.fillRect(k * slot + 0.5, height - tall, Math.max(1, slot - 1), tall);
  });
}
