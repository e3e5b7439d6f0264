// Requests to the server, and what a page shows where one fails.

let page = null;
let failed = false;

export function say(text) {
  failed = false;
  const line = document.getElementById("message");
  line.textContent = text;
  line.hidden = !text;
}

export async function ask(name, body = {}) {
  let response;
  try {
    response = await fetch(`/api/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ page, ...body }),
    });
  } catch {
    throw new Error("The server does not answer: is draw.py still running?");
  }
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.json();
}

// The line that questions go by while one draws: a WebSocket, which has them there several
// milliseconds earlier. Without it they go as all others do.
let line = null, waiting = [];

function connect() {
  if (line) return;
  const mine = new WebSocket(`ws://${location.host}/line`);
  line = mine;
  waiting = [];
  mine.onmessage = ({ data }) => waiting.shift()?.(data);
  mine.onclose = () => {
    if (line !== mine) return;
    line = null;
    for (const each of waiting) each(null);
    waiting = [];
  };
}

export async function askAtOnce(name, body) {
  if (line?.readyState !== WebSocket.OPEN) {
    connect();
    return ask(name, body);
  }
  const answered = new Promise((done) => waiting.push(done));
  line.send(JSON.stringify({ page, name, ...body }));
  const text = await answered;
  if (text === null) return ask(name, body);
  const answer = JSON.parse(text);
  if (answer.refused) throw new Error(answer.refused);
  return answer;
}

export async function open() {
  const opened = await ask("open");
  page = opened.page;
  connect();
  return opened.network;
}

export function close() {
  const body = new Blob([JSON.stringify({ page })], { type: "application/json" });
  if (page) navigator.sendBeacon("/api/close", body);
}

// Runs a piece of work; what goes wrong in it is said on the page, until some work goes well.
export async function attempt(work) {
  try {
    const result = await work();
    if (failed) say("");
    return result;
  } catch (error) {
    say(error.message);
    failed = true;
    return null;
  }
}
