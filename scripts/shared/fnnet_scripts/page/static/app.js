// The page: its two halves, and the server that both ask.

import { attempt, close, open, say } from "./asking.js";
import * as drawing from "./drawing.js";
import * as training from "./training.js";
import { hidePop } from "./showing.js";

const halves = { draw: drawing, train: training };

export function show(name, remember = true) {
  for (const each of Object.keys(halves)) {
    const tab = document.getElementById(`tab-${each}`);
    tab.setAttribute("aria-selected", each === name);
    tab.tabIndex = each === name ? 0 : -1;
    document.getElementById(each).hidden = each !== name;
  }
  hidePop();
  scrollTo(0, 0); // each half begins with what one does there
  halves[name].shown();
  if (remember) {
    const address = new URL(location);
    if (name === "train") training.remember(address);
    else address.search = "";
    history.replaceState(null, "", address);
  }
}

for (const name of Object.keys(halves)) {
  const tab = document.getElementById(`tab-${name}`);
  tab.addEventListener("click", () => show(name));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "draw" ? "train" : "draw";
    document.getElementById(`tab-${other}`).focus();
    show(other);
  });
}

addEventListener("pagehide", close);
addEventListener("pageshow", (event) => event.persisted && location.reload());

await attempt(async () => {
  const network = await open();
  drawing.begin(network);
  training.begin((answer) => {
    drawing.begin(answer, true);
    show("draw");
  });
  if (new URL(location).searchParams.has("data")) show("train", false);
});
document.documentElement.dataset.ready = "yes";
