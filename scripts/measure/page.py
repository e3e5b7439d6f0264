"""Measure the page that scripts/draw.py serves: digits replayed, stroke to bars, memory.

    python scripts/measure/page.py --data-dir PATH/TO/MNIST

Digits of MNIST's test set become strokes, the lines down their middles. `digits` draws them in
Chromium with a mouse: how many are read right, and how long a movement of the mouse takes until the
bars show it. `pages` has many pages that each ask again as soon as they are answered. `memory` is
what the server holds before and after many requests. Needs Playwright and Chromium (`pip install
'.[browser]'`) but for `pages` and `memory`.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from fnnet_scripts.options import Parser, UsageError, at_least, exit_code, folder, png
from fnnet_scripts.skeletons import Points, strokes_of

import fnnet

DRAW = Path(__file__).parents[1] / "draw.py"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PEN = 0.06  # the page's own, in sides of the canvas
EVERY = 3  # of a skeleton's points, one in so many: as a hand's mouse reports them
BEAT = 0.008  # seconds between two movements of the mouse
WARM = 500  # requests before the memory is measured
KEY, MASK = "dGhlIHNhbXBsZSBub25jZQ==", b"fnne"  # of a line
NOTE = """() => {
  window.times = [];
  new PerformanceObserver((list) => window.times.push(...list.getEntries().map((e) => e.duration)))
    .observe({ type: "measure" });
}"""
ACTIVE = """(grid) => {  // where the most active unit of the first five columns is
  const red = grid.getContext("2d").getImageData(0, 0, 5, grid.height).data
    .filter((_, i) => i % 4 === 0);
  const i = red.indexOf(Math.min(...red)), size = grid.clientWidth / grid.width;
  return { x: (i % 5 + 0.5) * size, y: (Math.floor(i / 5) + 0.5) * size };
}"""

Drawing: TypeAlias = list[Points]


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this system: its name, who started it, and the processor time it has taken."""

    name: str
    parent: int
    seconds: float


def processes() -> dict[int, Process]:
    """Those that run; none where there is no /proc."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            start, _, rest = path.read_text().rpartition(")")
            words = rest.split()
            seconds = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
            found[int(path.parent.name)] = Process(start.partition("(")[2], int(words[1]), seconds)
    return found


def by_chromium() -> float:
    """Processor time of all of Chromium that this process has started."""
    found = processes()

    def below(number: int) -> float:
        return sum(
            below(i) + (each.seconds if each.name.startswith("chrom") else 0)
            for i, each in found.items()
            if each.parent == number
        )

    return below(os.getpid()) if found else float("nan")


@dataclass(frozen=True, slots=True)
class Served:
    """A server in a process of its own."""

    address: str
    process: int

    def seconds(self) -> float:
        """Processor time that it has taken."""
        return processes().get(self.process, Process("", 0, float("nan"))).seconds

    def bytes(self) -> float:
        """Memory that it holds."""
        pages = int(Path(f"/proc/{self.process}/statm").read_text().split()[1])
        return float(pages * os.sysconf("SC_PAGE_SIZE"))


@contextmanager
def served() -> Iterator[Served]:
    command = [sys.executable, str(DRAW), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise OSError("draw.py did not start")
            yield Served(line.split()[0], process.pid)
        finally:
            process.terminate()


class Client:
    """A page without a browser: it draws by the line, and asks all else over HTTP, as the page."""

    def __init__(self, server: Served) -> None:
        self.connection = HTTPConnection(server.address.split("/")[2], timeout=60)
        self.page: str | None = None
        self.page = self("open")["page"]
        self.line = Line(server.address)

    def __call__(self, name: str, **body: object) -> Any:
        content = json.dumps({"page": self.page, **body})
        self.connection.request(
            "POST", f"/api/{name}", content, {"Content-Type": "application/json"}
        )
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise OSError(text.decode().strip())
        return json.loads(text)

    def see(self, drawing: Drawing) -> Any:
        strokes = [stroke.round(4).tolist() for stroke in drawing]
        self.line.send(
            json.dumps(
                {"page": self.page, "name": "see", "strokes": strokes, "width": PEN, "base": None}
            ).encode()
        )
        answer = json.loads(self.line.receive()[1])
        if "refused" in answer:
            raise OSError(answer["refused"])
        return answer

    def close(self) -> None:
        self("close")
        self.connection.close()
        self.line.close()


class Line:
    """A WebSocket as a browser has it, but for its extensions."""

    def __init__(self, address: str) -> None:
        host = address.split("/")[2]
        name, _, port = host.partition(":")
        self.connection = socket.create_connection((name, int(port)), timeout=60)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.connection.sendall(
            f"GET /line HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\n\r\n".encode()
        )
        self.incoming = self.connection.makefile("rb")
        self.head = b""
        while (text := self.incoming.readline()).strip():
            self.head += text

    def send(self, content: bytes, first: int = 0x81) -> None:
        """A frame; its first byte says that it is the last one and a text."""
        size = len(content)
        long = size.to_bytes(2, "big") if 125 < size < 2**16 else size.to_bytes(8, "big")
        length = bytes([128 + size]) if size <= 125 else bytes([254 + (size >= 2**16)]) + long
        plain = np.frombuffer(content, np.uint8)
        masked = plain ^ np.resize(np.frombuffer(MASK, np.uint8), size)
        self.connection.sendall(bytes([first]) + length + MASK + masked.tobytes())

    def receive(self) -> tuple[int, bytes]:
        """The first byte of the next frame, and its content."""
        first, size = self.incoming.read(2)
        if size > 125:
            size = int.from_bytes(self.incoming.read(2 if size == 126 else 8), "big")
        return first, self.incoming.read(size)

    def close(self) -> None:
        self.incoming.close()
        self.connection.close()


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise UsageError("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield started
        started.close()


def opened(started: Any, server: Served, **options: Any) -> Any:
    page = started.new_context(**options).new_page()
    page.goto(server.address)
    page.wait_for_selector("html[data-ready]")
    page.evaluate(NOTE)
    return page


def draw(page: Any, drawing: Drawing, beat: float = BEAT) -> None:
    """Strokes with a mouse that is moved from point to point; returns when the bars show them."""
    box, mouse = page.locator("#canvas").bounding_box(), page.mouse
    for stroke in drawing:
        for i, (x, y) in enumerate(stroke.tolist()):
            until = time.monotonic() + beat
            mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if i == 0:
                mouse.down()
            time.sleep(max(0.0, until - time.monotonic()))
        mouse.up()
    page.wait_for_selector("table.bars[aria-busy=false]")


def digits(server: Served, test: fnnet.Split, settings: argparse.Namespace) -> None:
    """Digits drawn with a mouse: how many are read right, and how soon the bars follow."""
    right = 0
    with browser() as started:
        page = opened(started, server)
        began, before = server.seconds(), by_chromium()
        for x, y in zip(test.x, test.y, strict=True):
            page.keyboard.press("Delete")
            draw(page, thinned(strokes_of(np.asarray(x))))
            right += page.inner_text("tr.guess th") == str(y)
        times = page.evaluate("() => window.times")
        chromium = 1000 * (by_chromium() - before) / len(times)
    print(f"{len(test)} digits replayed with a mouse: {right} read right")
    spent = f"{each(server, began, len(times))}, {chromium:.1f} ms of Chromium's"
    print(f"stroke to bars, one page: {told(times)}; {spent}", flush=True)


def thinned(drawing: Drawing) -> Drawing:
    return [np.concatenate([stroke[:-1:EVERY], stroke[-1:]]) for stroke in drawing]


def pages(server: Served, test: fnnet.Split, settings: argparse.Namespace) -> None:
    """Many pages that draw at once."""
    drawings = [thinned(strokes_of(np.asarray(x))) for x in test.x[:20]]
    times: list[float] = []
    began, ends = server.seconds(), time.monotonic() + settings.seconds

    def work(first: int) -> None:
        client = Client(server)
        for n, drawing in enumerate(growing(drawings[first % len(drawings) :] + drawings)):
            start = time.perf_counter()
            client.see(drawing)
            times.append(1000 * (time.perf_counter() - start))
            if time.monotonic() > ends or n > 100_000:
                break
        client.close()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(settings.pages)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rate = len(times) / settings.seconds
    print(
        f"{settings.pages} pages at once, {rate:.0f} answers a second: {told(times)}; "
        f"{each(server, began, len(times))}",
        flush=True,
    )


def growing(drawings: Sequence[Drawing]) -> Iterator[Drawing]:
    """Drawings as they look after each movement of the mouse, without end."""
    while True:
        for drawing in drawings:
            for i, stroke in enumerate(drawing):
                yield from ([*drawing[:i], stroke[:n]] for n in range(1, len(stroke) + 1))


def memory(server: Served, test: fnnet.Split, settings: argparse.Namespace) -> None:
    """What the server holds before and after many requests, lessons and pages."""
    drawings = [strokes_of(np.asarray(x)) for x in test.x[:20]]
    before, after = held(server, settings.requests, drawings)
    print(
        f"{settings.requests:,} requests: {before / 1e6:.1f} MB of memory before, "
        f"{after / 1e6:.1f} MB after",
        flush=True,
    )


def held(server: Served, requests: int, drawings: Sequence[Drawing]) -> tuple[float, float]:
    """Bytes that a server holds before and after so many requests; no page stays open."""

    def ask(count: int) -> float:
        client = Client(server)
        for n in range(count):
            client.see(drawings[n % len(drawings)])
            if n % 10 == 9:
                client("teach", label=n // 10 % 10)
            if n % 100 == 99:
                client.close()
                client = Client(server)
        client.close()
        return server.bytes()

    return ask(WARM), ask(requests)


def told(times: Sequence[float]) -> str:
    """Milliseconds in words."""
    median, late = np.percentile(times, [50, 95])
    return f"median {median:.1f} ms, 95th percentile {late:.1f} ms of {len(times):,}"


def each(server: Served, began: float, count: int) -> str:
    return f"{1000 * (server.seconds() - began) / count:.1f} ms of the server's processor each"


def figure(server: Served, test: fnnet.Split, out: Path) -> None:
    """The page with a digit drawn and the mouse over a hidden unit."""
    (image, *_) = (np.asarray(x) for x, y in zip(test.x, test.y, strict=True) if y == 2)
    with browser() as started:
        page = opened(started, server, viewport={"width": 1280, "height": 820})
        draw(page, strokes_of(image), beat=0)
        units = page.locator("canvas.units").first
        units.hover(position=units.evaluate(ACTIVE))
        page.wait_for_selector("#pop:not([hidden]) canvas")
        out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(out))
    print(f"drawn in {out}")


PARTS: dict[str, Callable[[Served, fnnet.Split, argparse.Namespace], None]] = {
    "digits": digits,
    "pages": pages,
    "memory": memory,
}


def run(settings: argparse.Namespace) -> None:
    test = fnnet.load_mnist(settings.data_dir).test
    with served() as server:
        for name in settings.parts or ([] if settings.figure else PARTS):
            PARTS[name](server, test[: settings.digits], settings)
        if settings.figure:
            figure(server, test[:200], settings.figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help="digits, pages or memory; default: all of them")
    add("--data-dir", type=folder, metavar="DIR", help="folder of MNIST's four files")
    add("--digits", type=at_least(1, 10_000), default=200, metavar="N", help="default: 200")
    add("--pages", type=at_least(1, 60), default=20, metavar="N", help="default: 20")
    add("--seconds", type=at_least(1), default=20, metavar="N", help="of many pages; default: 20")
    add("--requests", type=at_least(1), default=10_000, metavar="N", help="default: 10000")
    add("--figure", type=png, metavar="FILE", help="the page itself, drawn; measures what is named")
    settings = parser.parse_args(argv)
    for name in settings.parts:
        if name not in PARTS:
            parser.error(f"PART: must be one of {', '.join(PARTS)}, got {name!r}")
    return exit_code("page.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
