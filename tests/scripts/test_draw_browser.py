"""scripts/draw.py in a real browser: Chromium, driven by Playwright where both are installed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fnnet_scripts.page import api as api_of_page
from fnnet_scripts.page import learning, pages, server, thinking
from fnnet_scripts.skeletons import Points

from tests.scripts.drawn_digits import strokes_of_class
from tests.scripts.shared import NETWORK, load

api = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install -e '.[browser]'"
)
measure = load("page")  # which measures the same page
if measure.CHROMIUM is None:
    pytest.skip("needs Chromium: apt-get install chromium", allow_module_level=True)
SECONDS = 60_000  # milliseconds that anything may take


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server.Server(pages.Pages(thinking.embedded(NETWORK)), pages.Shelf()) as each:
        thread = threading.Thread(target=each.serve_forever, args=(0.05,))
        thread.start()
        yield each.address
        each.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=measure.CHROMIUM, args=[*measure.FLAGS]
        )
        yield browser
        browser.close()


@dataclass
class User:
    """Someone with a page open, and what the console says meanwhile."""

    page: Any
    said: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]", timeout=SECONDS)

    def draw(self, strokes: list[Points]) -> None:
        """With a mouse that is moved from point to point."""
        box, mouse = self.page.locator("#canvas").bounding_box(), self.page.mouse
        for stroke in strokes:
            path = [
                (box["x"] + x * box["width"], box["y"] + y * box["height"])
                for x, y in stroke.tolist()
            ]
            mouse.move(*path[0])
            mouse.down()
            for point in path[1:]:
                mouse.move(*point)
            mouse.up()

    def reads(self, name: str) -> None:
        self.page.wait_for_function(
            "name => document.querySelector('tr.guess th')?.textContent === name && "
            "document.querySelector('table.bars').ariaBusy === 'false'",
            arg=name,
            timeout=SECONDS,
        )

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def stands(self, selector: str) -> str:
        """The text once it has been the same for half a second, as one that runs never is."""
        for _ in range(20):  # an epoch that was under way still comes
            before = self.text(selector)
            self.page.wait_for_timeout(500)
            if self.text(selector) == before:
                return before
        pytest.fail(f"{selector} never stands still")

    def waits(self, expression: str) -> None:
        # A function: a bare expression would be evaluated in the page, which its policy forbids.
        self.page.wait_for_function(f"() => {expression}", timeout=SECONDS)


@pytest.fixture
def user(browser: Any, address: str) -> Iterator[User]:
    yield from visitor(browser, address)


@pytest.fixture
def phone(browser: Any, address: str) -> Iterator[User]:
    yield from visitor(browser, address, viewport={"width": 390, "height": 844}, has_touch=True)


def visitor(browser: Any, address: str, **options: Any) -> Iterator[User]:
    context = browser.new_context(**options)
    user = User(context.new_page())
    user.page.on("console", lambda message: user.said.append(message.text))
    user.page.on("pageerror", lambda error: user.said.append(str(error)))
    user.open(address)
    yield user
    context.close()
    assert user.said == []  # no error in the console


@pytest.mark.parametrize("k", range(10))
def test_a_digit_drawn_with_a_mouse_is_read(user: User, k: int) -> None:
    user.draw(strokes_of_class(k))
    user.reads(str(k))
    bars = [float(width) for width in widths(user)]
    assert int(np.argmax(bars)) == k
    assert user.text("#verdict").startswith(str(k))


def widths(user: User) -> list[str]:
    script = "bars => bars.map(bar => bar.style.transform.slice(7, -1))"
    found: list[str] = user.page.eval_on_selector_all(".fill", script)
    return found


def test_undo_and_clear_take_strokes_back(user: User) -> None:
    user.draw(strokes_of_class(1))
    user.reads("1")
    before = widths(user)
    user.draw([np.array([[0.1, 0.9], [0.9, 0.9], [0.9, 0.1]], np.float32)])
    user.waits(f"document.querySelectorAll('.fill')[1].style.transform !== 'scaleX({before[1]})'")
    user.page.keyboard.press("Control+z")
    user.reads("1")
    user.waits(f"document.querySelectorAll('.fill')[0].style.transform === 'scaleX({before[0]})'")
    assert widths(user) == before
    user.page.click("#clear")
    user.waits("document.getElementById('verdict').textContent === 'Draw a digit.'")
    assert user.page.is_disabled("#undo")


def test_the_pen_and_examples_change_the_picture(user: User) -> None:
    user.page.click("#examples button >> nth=4")
    user.reads("4")
    seen = "document.getElementById('seen').toDataURL()"
    before = user.page.evaluate(seen)
    user.page.click("#clear")
    user.draw(strokes_of_class(2))
    user.reads("2")
    drawn = user.page.evaluate(seen)
    assert drawn != before
    user.page.fill("#width", "14")
    user.waits(f"{seen} !== '{drawn}'")


def test_a_wrong_answer_is_corrected_and_forgotten(user: User) -> None:
    user.draw(strokes_of_class(4))
    user.reads("4")
    before = user.text("#bars")
    for n in range(1, 4):
        user.page.click("#labels button >> nth=9")
        user.waits(f"document.getElementById('lesson').textContent.includes('Lessons: {n}.')")
    user.reads("9")
    assert "→" in user.text("#lesson")
    user.page.click("#reset")
    user.reads("4")
    assert user.text("#bars") == before


def test_equations_show_this_pictures_values(user: User) -> None:
    user.draw(strokes_of_class(7))
    user.reads("7")
    for n in range(1, 13):
        user.page.hover(f"button.eq[data-number='{n}']")
        user.page.wait_for_selector("#pop:not([hidden]) .formula")
        user.page.mouse.move(5, 5)
        user.page.wait_for_selector("#pop", state="hidden")
    user.page.focus("button.eq[data-number='3']")
    user.page.wait_for_selector("#pop:not([hidden])")
    assert "“7”" in user.text("#pop")
    user.page.keyboard.press("Escape")
    user.page.wait_for_selector("#pop", state="hidden")
    assert user.text("tr.guess th") == "7"


def test_a_hidden_unit_shows_its_weights_to_mouse_and_keys(user: User) -> None:
    units = user.page.locator("canvas.units")
    units.first.hover(position={"x": 30, "y": 20})
    user.page.wait_for_selector("#pop:not([hidden]) canvas")
    assert "layer 1" in user.text("#pop")
    user.page.mouse.move(5, 5)
    units.nth(1).focus()
    user.page.keyboard.press("ArrowRight")
    user.page.keyboard.press("ArrowRight")
    user.waits("document.getElementById('pop').textContent.includes('Unit 1 of layer 2')")


@pytest.mark.parametrize("width", [360, 1440])
def test_bubbles_stay_within_the_window(user: User, width: int) -> None:
    user.page.set_viewport_size({"width": width, "height": 900})
    user.draw(strokes_of_class(8))
    user.reads("8")
    user.page.click("#labels button >> nth=3")
    user.waits("document.getElementById('lesson').textContent.includes('Lessons: 1.')")
    for n in (3, 10, 12):
        user.page.hover(f"button.eq[data-number='{n}']")
        user.page.wait_for_selector("#pop:not([hidden]) .formula")
        box = user.page.locator("#pop").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        user.page.mouse.move(5, 5)
        user.page.wait_for_selector("#pop", state="hidden")


def test_an_empty_canvas_invites_and_a_drawn_one_does_not(user: User) -> None:
    assert user.text("#hint") == "Draw a digit"
    user.draw(strokes_of_class(1))
    assert user.page.is_hidden("#hint")
    user.reads("1")
    user.page.click("#clear")
    assert user.page.is_visible("#hint")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_logit_of_the_class_taught_can_be_read_on_its_bar(user: User, scheme: str) -> None:
    user.page.emulate_media(color_scheme=scheme)
    user.draw(strokes_of_class(8))
    user.reads("8")
    user.page.click("#labels button >> nth=3")
    user.page.wait_for_selector("tr.true.inside .fill")
    colours = [
        user.page.eval_on_selector(f"tr.true {part}", f"e => getComputedStyle(e).{name}")
        for part, name in ((".fill", "backgroundColor"), (".track span", "color"))
    ]
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]
    assert abs(brightness[0] - brightness[1]) > 400


def test_a_digit_is_drawn_with_keys_alone(user: User) -> None:
    user.page.focus("#canvas")
    user.page.keyboard.press("Space")
    for _ in range(30):
        user.page.keyboard.press("ArrowDown")
    user.page.keyboard.press("Space")
    user.reads("1")


def test_touch_draws_and_does_not_scroll(phone: User) -> None:
    box = phone.page.locator("#canvas").bounding_box()
    session = phone.page.context.new_cdp_session(phone.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        at = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    touch("touchStart", (0.5, 0.9))
    for y in np.linspace(0.9, 0.1, 20).tolist():
        touch("touchMove", (0.5, y))
    touch("touchEnd")
    phone.reads("1")
    assert phone.page.evaluate("scrollY") == 0


@pytest.mark.parametrize("half", ["", "?data=digits"])
@pytest.mark.parametrize("width", [320, 390, 800, 1440])
def test_no_page_is_wider_than_its_window(user: User, address: str, half: str, width: int) -> None:
    user.page.set_viewport_size({"width": width, "height": 800})
    user.open(address + half)
    if half:
        user.waits("document.querySelectorAll('#tests .test').length === 10")
    assert user.page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_moves_as_one_draws(user: User) -> None:
    script = "parts => parts.map(part => JSON.stringify(part.getBoundingClientRect()))"
    parts = "section, #bars tr, canvas, #labels, #reset"
    before = user.page.eval_on_selector_all(parts, script)
    user.draw(strokes_of_class(8))
    user.reads("8")
    user.page.click("#labels button >> nth=3")
    user.waits("document.getElementById('lesson').textContent.includes('Lessons: 1.')")
    assert user.page.eval_on_selector_all(parts, script) == before


SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((e) => e.value)))
    .observe({ type: "layout-shift", buffered: true });
}"""


@pytest.mark.parametrize("half", ["", "?data=digits"])
@pytest.mark.parametrize("width", [390, 900, 1280])
def test_nothing_moves_as_the_page_loads_slowly(
    user: User, address: str, half: str, width: int
) -> None:
    user.page.set_viewport_size({"width": width, "height": 820})
    user.page.add_init_script(f"({SHIFTS})()")
    session = user.page.context.new_cdp_session(user.page)
    slow = {"offline": False, "latency": 200, "downloadThroughput": 3e5, "uploadThroughput": 3e5}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", slow)
    user.open(address + half)
    if half:
        user.waits("document.getElementById('standing').textContent.startsWith('Epoch 0:')")
    user.page.wait_for_timeout(200)
    assert user.page.evaluate("window.shifts") == []


@pytest.mark.parametrize("half", ["", "?data=digits"])
def test_all_that_can_be_used_has_a_name(user: User, address: str, half: str) -> None:
    user.open(address + half)
    if half:
        user.waits("document.getElementById('standing').textContent.startsWith('Epoch 0:')")
    session = user.page.context.new_cdp_session(user.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    known = ("button", "tab", "slider", "spinbutton", "combobox", "image", "application", "table")
    used = [
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in (*known, "form", "progressbar")
    ]
    assert len(used) > 15
    assert [role for role, name in used if not name.strip()] == []
    names = [name for role, name in used if role == "button"]
    assert len(set(names)) == len(names)


def test_a_run_starts_pauses_steps_and_rewinds(user: User) -> None:
    user.page.click("#tab-train")
    user.waits("document.querySelectorAll('#tests .test').length === 10")
    state = "document.getElementById('standing').textContent"
    user.waits(f"{state}.startsWith('Epoch 0:')")
    first = user.page.evaluate(pictures())
    user.page.click("#start")
    user.waits(f"/^Epoch [3-9]/.test({state})")
    user.page.click("#start")
    assert user.text("#start") == "Start"
    paused = user.stands("#standing")
    assert user.page.evaluate(pictures()) != first
    user.page.click("#step")
    user.waits(f"{state} !== '{paused}'")
    user.page.click("#rewind")
    user.waits(f"{state}.startsWith('Epoch 0:')")
    assert user.page.evaluate(pictures()) == first


def pictures() -> str:
    return "[...document.querySelectorAll('#weights canvas')].map(c => c.toDataURL()).join()"


def test_a_link_opens_the_same_run(user: User, address: str) -> None:
    user.page.click("#tab-train")
    user.waits("document.querySelectorAll('#tests .test').length === 10")
    assert "data=digits&width=64&" in user.page.url  # before anything is changed
    user.page.fill("[name=width]", "12")
    user.page.select_option("[name=optimizer]", "adam")
    user.page.fill("[name=seed]", "5")
    user.page.keyboard.press("Tab")
    user.waits("document.querySelectorAll('#weights canvas').length === 12")
    user.page.wait_for_load_state("networkidle")
    user.page.click("#step")
    user.waits("document.getElementById('standing').textContent.startsWith('Epoch 1:')")
    link, standing, weights = user.page.url, user.text("#standing"), user.page.evaluate(pictures())
    assert "seed=5" in link
    user.open(link)
    user.waits("document.querySelectorAll('#weights canvas').length === 12")
    assert user.page.input_value("[name=optimizer]") == "adam"
    user.page.click("#step")
    user.waits("document.getElementById('standing').textContent.startsWith('Epoch 1:')")
    assert user.text("#standing") == standing
    assert user.page.evaluate(pictures()) == weights


def test_a_link_with_what_is_not_to_be_had_says_so(user: User, address: str) -> None:
    user.open(f"{address}?data=%3Cscript%3E&width=-4&seed=2")
    user.page.wait_for_selector("#message:not([hidden])")
    user.page.wait_for_load_state("networkidle")
    # Still, where other work went well meanwhile.
    assert "not to be had here: data = <script>, width = -4." in user.text("#message")
    assert user.page.input_value("[name=seed]") == "2"


def test_two_runs_lie_over_each_other_and_one_is_drawn_for(user: User) -> None:
    user.page.click("#tab-train")
    user.waits("document.querySelectorAll('#tests .test').length === 10")
    user.page.click("#step")
    user.waits("!document.getElementById('keep').disabled")
    user.page.click("#keep")
    user.page.fill("[name=rate]", "0.01")
    user.page.keyboard.press("Tab")
    user.waits("document.getElementById('kept-note').textContent === 'Kept: rate 0.001'")
    user.page.click("#step")
    user.waits("document.getElementById('standing').textContent.startsWith('Epoch 1:')")
    user.page.click("#code")
    user.page.wait_for_selector("#python:not([hidden])")
    assert "rmsprop_init(params, 0.01)" in user.text("#python")
    user.page.click("#use-run")
    user.page.wait_for_selector("#use-first:not([hidden])")
    assert "64-64-10" in user.text("#about")
    user.draw(strokes_of_class(1))
    user.page.wait_for_selector("tr.guess")
    user.page.click("#use-first")
    user.waits("document.getElementById('about').textContent.includes('MNIST')")


def test_drawing_for_a_run_begins_where_one_draws(phone: User) -> None:
    phone.page.click("#tab-train")
    phone.waits("document.getElementById('standing').textContent.startsWith('Epoch 0:')")
    phone.page.click("#step")
    phone.waits("document.getElementById('standing').textContent.startsWith('Epoch 1:')")
    phone.page.click("#use-run")  # which lies far below
    phone.page.wait_for_selector("#use-first:not([hidden])")
    assert phone.page.evaluate("scrollY") == 0
    phone.draw(strokes_of_class(0))
    phone.page.wait_for_selector("tr.guess")


def test_large_data_sets_are_evaluated_while_one_waits_starts_and_rewinds(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "PIECE", 50)
    monkeypatch.setattr(api_of_page, "MOMENT", 0.0)
    state = "document.getElementById('standing').textContent"
    user.page.click("#tab-train")
    user.waits(f"/^Epoch 0, \\d+ % evaluated$/.test({state})")
    user.page.click("#rewind")
    user.waits(f"/^Epoch 0, \\d % evaluated$/.test({state})")
    monkeypatch.setattr(learning, "PIECE", 2048)
    user.page.click("#rewind")
    user.waits(f"/^Epoch 0: .* of 360 test images$/.test({state})")
    monkeypatch.setattr(api_of_page, "MOMENT", 0.1)
    user.page.click("#start")
    user.waits(f"/^Epoch [1-9]/.test({state})")
    user.page.click("#start")
    assert user.text("#start") == "Start"


def test_a_server_that_is_gone_is_told(user: User) -> None:
    with measure.served() as process:
        user.open(process.address)
        user.draw(strokes_of_class(1))
        user.reads("1")
    user.draw(strokes_of_class(1))
    user.page.wait_for_selector("#message:not([hidden])")
    assert "draw.py" in user.text("#message")
    user.said.clear()  # the browser tells of the request, too


def test_without_a_line_drawing_goes_by_http(user: User, address: str) -> None:
    user.page.route_web_socket("**/line", lambda each: each.close())
    user.open(address)
    user.draw(strokes_of_class(3))
    user.reads("3")


def test_a_line_that_was_cut_is_opened_anew(user: User, address: str) -> None:
    script = """() => {
      const Each = WebSocket;
      window.lines = [];
      window.WebSocket = class extends Each {
        constructor(...given) { super(...given); window.lines.push(this); }
      };
    }"""
    user.page.add_init_script(f"({script})()")
    user.open(address)
    user.waits("window.lines.length === 1 && window.lines[0].readyState === 1")
    user.page.evaluate("window.lines[0].close()")
    user.waits("window.lines[0].readyState === 3")
    user.draw(strokes_of_class(6))
    user.reads("6")
    user.waits("window.lines.length === 2 && window.lines[1].readyState === 1")
