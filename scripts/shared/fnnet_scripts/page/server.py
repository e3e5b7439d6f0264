"""The server: HTTP for this machine alone, with bounds on what a request may be and take."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from fnnet_scripts.options import one_line
from fnnet_scripts.page import api, line
from fnnet_scripts.page.pages import Full, Gone, Pages, Shelf

HOST = "127.0.0.1"
LARGEST = 2**18  # bytes of a request's body
IN_TIME = 10.0  # seconds that a request may take to arrive, and its answer to be taken
KEPT = 75.0  # seconds that a connection may be silent between two requests
CONNECTIONS = 256  # at once
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("app", "asking", "charts", "drawing", "showing", "training")
    },
}
GONE = "this page was left alone for long, or draw.py was started anew: load the page again"
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"too many connections are open: close pages\n"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Refused(Exception):
    """A request that is not answered: the status, and why in one line."""

    def __init__(self, status: int, why: str) -> None:
        self.status, self.why = status, why
        super().__init__(why)


class Timely(io.RawIOBase):
    """What a connection sends: a request must be whole in time, however slowly it trickles."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.deadline: float | None = None
        self.patience = IN_TIME  # until the first request begins; later ones may take longer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.patience if self.deadline is None else self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("too slow")
        self.connection.settimeout(left)
        count = self.connection.recv_into(buffer)
        if self.deadline is None:
            self.deadline, self.patience = time.monotonic() + IN_TIME, KEPT
        self.connection.settimeout(IN_TIME)  # of the answer
        return count


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fnnet", ""
    wbufsize = -1  # head and body leave together

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.arriving = Timely(self.connection)
        self.rfile = io.BufferedReader(self.arriving)

    def finish(self) -> None:
        with suppress(OSError):  # the other side went away before its answer
            super().finish()

    def handle_one_request(self) -> None:
        self.arriving.deadline = None
        try:
            super().handle_one_request()
        except OSError:  # the other side went away, or took too long
            self.close_connection = True

    def do_GET(self) -> None:
        if self.path == "/line":
            self.line()
        else:
            self.answer(self.file)

    def do_HEAD(self) -> None:
        self.answer(self.file)

    def do_POST(self) -> None:
        self.answer(self.api)

    def answer(self, work: Callable[[], tuple[str, bytes]]) -> None:
        """Answer with a type and content, or with a line that says why not."""
        try:
            self.check()
            kind, content = work()
        except Refused as error:
            self.refuse(error)
        else:
            self.send(200, kind, content)

    def refuse(self, error: Refused) -> None:
        self.close_connection = True  # a body may not have been read
        self.send(error.status, "text/plain; charset=utf-8", one_line(error.why).encode() + b"\n")

    def send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def line(self) -> None:
        """Questions on a line that stays open, each answered before the next one is read."""
        try:
            self.check()
            key = self.upgrade()
        except Refused as error:
            return self.refuse(error)
        self.close_connection = True  # after the line there is no other request
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", key)
        self.end_headers()
        self.wfile.flush()
        try:
            while True:
                self.arriving.deadline = None
                self.wfile.write(line.frame(self.spoken()))
                self.wfile.flush()
        except line.Ended as end:
            self.wfile.write(line.frame(end.code.to_bytes(2, "big"), line.CLOSE))

    def upgrade(self) -> str:
        """What shows a browser that a line can be opened; only our own page may open one."""
        websocket = self.headers.get("Upgrade", "").lower() == "websocket"
        if not websocket or "Origin" not in self.headers or self.request_version != "HTTP/1.1":
            raise Refused(400, "a line must be a WebSocket that this server's page opens")
        if self.headers.get("Sec-WebSocket-Version") != "13":
            raise Refused(400, "a line must be a WebSocket of version 13")
        try:
            return line.accepted(self.headers.get("Sec-WebSocket-Key", ""))
        except ValueError as error:
            raise Refused(400, str(error)) from None

    def spoken(self) -> bytes:
        """The answer to the next message of a line, or why there is none."""
        content = line.message(self.rfile, self.wfile, LARGEST)
        try:
            body = parsed(content)
            return self.result(str(body.get("name")), body)
        except Refused as error:
            return json.dumps({"refused": one_line(error.why)}).encode()

    def check(self) -> None:
        """Refuse pages of others: a name that was pointed here, or a script from elsewhere."""
        port = self.server.server_port
        ours = {f"{name}:{port}" for name in (HOST, "localhost")}
        ours |= {HOST, "localhost"} if port == 80 else set()
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in ours:
            raise Refused(403, f"this server answers to {HOST}:{port} alone")
        for origin in self.headers.get_all("Origin") or []:
            if origin.lower() not in {f"http://{host}" for host in ours}:
                raise Refused(403, "this server answers its own page alone")

        lengths = self.headers.get_all("Content-Length") or []
        if "Transfer-Encoding" in self.headers or len(lengths) > 1:
            raise Refused(400, "the request must say once how long its body is (Content-Length)")
        if self.command != "POST" and lengths not in ([], ["0"]):
            raise Refused(400, "such a request has no body")

    def file(self) -> tuple[str, bytes]:
        path = self.path.partition("?")[0]
        if path not in FILES:
            raise Refused(404, "there is no such file")
        name, kind = FILES[path]
        return kind, self.server.files[name]

    def api(self) -> tuple[str, bytes]:
        path, _, name = self.path.rpartition("/")
        body = self.body()
        if path != "/api":
            raise Refused(404, "there is no such request")
        return "application/json", self.result(name, body)

    def result(self, name: str, body: dict[str, Any]) -> bytes:
        """The answer to a request of a page, as JSON."""
        try:
            result = self.server.result(name, body)
        except Gone:
            raise Refused(410, GONE) from None
        except Full:
            raise Refused(503, "too many pages are open: close one") from None
        except (ValueError, TypeError, ArithmeticError) as error:
            raise Refused(400, str(error)) from None
        return json.dumps(result, separators=(",", ":")).encode()

    def body(self) -> dict[str, Any]:
        """The request's body: an object of JSON."""
        if self.headers.get_content_type() != "application/json":
            raise Refused(400, "the body must be application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 9):
            raise Refused(400, "the request must say how long its body is (Content-Length)")
        if int(length) > LARGEST:
            raise Refused(400, f"the body must have {LARGEST} bytes or fewer, got {length}")
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            raise Refused(400, "the body is cut short")
        return parsed(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of the protocol itself, in one line, too."""
        self.close_connection = True
        why = one_line(message or self.responses.get(code, ("refused",))[0]).encode() + b"\n"
        status = 405 if code == 501 else code
        self.send_response(400 if status in (414, 431, 505) else status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(why)))
        self.send_header("Connection", "close")
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(why)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: the page says what goes wrong."""


def parsed(content: bytes) -> dict[str, Any]:
    """What is asked for: an object of JSON."""
    try:
        value = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused(400, "the body must be JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be an object of JSON")
    return value


def _no_number(text: str) -> None:
    raise ValueError(text)


class Server(ThreadingHTTPServer):
    """The server, bound to a port of this machine that nobody else can reach.

    Parameters
    ----------
    pages : what open pages have
    shelf : the data sets at hand
    port : to listen on; 0 for any that is free

    Raises
    ------
    OSError
        If the port is taken.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = sys.platform != "win32"  # where it would let two servers share a port
    request_queue_size = 64

    def __init__(self, pages: Pages, shelf: Shelf, port: int = 0) -> None:
        static = resources.files("fnnet_scripts.page").joinpath("static")
        self.files = {name: static.joinpath(name).read_bytes() for name, _ in FILES.values()}
        self.pages, self.shelf = pages, shelf
        self.room = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((HOST, port), Handler)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def server_bind(self) -> None:
        # HTTPServer's own looks the machine's name up, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, self.allow_reuse_address)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.room.acquire(blocking=False):
            with suppress(OSError):
                request.sendall(BUSY)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A fault of ours, in one line; the connection ends, the server goes on."""
        print(f"draw.py: {one_line(repr(sys.exc_info()[1]))}", file=sys.stderr)

    def service_actions(self) -> None:
        self.pages.sweep()

    def result(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request of a page."""
        if name == "open":
            return api.opened(self.pages)
        if name == "close":
            self.pages.close(body.get("page"))
            return {}
        if name not in api.ROUTES:
            raise Refused(404, "there is no such request")
        page = self.pages.get(body.get("page"))
        with page.lock:
            return api.ROUTES[name](page, body, self.shelf)
