"""A mirror on the loopback interface that serves files in every good and bad way, and tiny data."""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import numpy as np

from fnnet.data.datasets import RemoteFile, Source
from fnnet.data.idx import write_idx

Behaviour = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass(frozen=True)
class Mirror:
    url: str
    requests: list[str] = field(default_factory=list)  # path, and range if one was asked for


@contextmanager
def mirror(files: Mapping[str, bytes], *behaviours: Behaviour) -> Iterator[Mirror]:
    """Serve `files`; the first request is met by the first behaviour, later ones by the last."""
    requests: list[str] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            with lock:
                requests.append(self.path + (f" {asked}" if asked else ""))
                number = len(requests)
            name = self.path.rpartition("/")[2]
            respond = (behaviours or (good,))[min(number, len(behaviours) or 1) - 1]
            respond(self, files[name])

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that turns away from a bad mirror is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Mirror(f"http://127.0.0.1:{server.server_port}/", requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(
    handler: BaseHTTPRequestHandler, body: bytes, code: int = 200, **headers: str | int | None
) -> None:
    """Answer with `body`; a header of None is left out."""
    standard: dict[str, str | int | None] = {
        "Content_Type": "application/x-gzip",
        "Content_Length": len(body),
    }
    handler.send_response(code)
    for name, value in {**standard, **headers}.items():
        if value is not None:
            handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def good(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send(handler, content)


def ranged(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    asked = handler.headers.get("Range")
    if asked is None:
        return send(handler, content)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return send(handler, content[start:], 206, Content_Range=span)


def status(code: int) -> Behaviour:
    return lambda handler, content: send(handler, b"sorry", code)


def wrong_bytes(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send(handler, bytes(len(content)))


def wrong_length(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send(handler, content[:-1])


def too_long(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send(handler, content * 2, Content_Length=None)


def without_length(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send(handler, content, Content_Length=None)


def html(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send(handler, b"<!DOCTYPE html><p>Log in", Content_Type="text/html")


def html_without_length(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send(handler, b"<!DOCTYPE html>", Content_Type="text/html", Content_Length=None)


def redirect_loop(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send(handler, b"", 302, Location=handler.path)


def redirect(url: str) -> Behaviour:
    return lambda handler, content: send(handler, b"", 302, Location=url)


def silent(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    time.sleep(60)  # longer than any test waits; nobody waits for the threads of a mirror


def dripping(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """One byte at a time, each well within the time-out."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    while True:
        handler.wfile.write(b".")
        handler.wfile.flush()
        time.sleep(0.05)


def drip(handler: BaseHTTPRequestHandler, start: bytes, drop: bytes = b".") -> None:
    """Some bytes at once, then a few at a time, each well within the time-out."""
    handler.wfile.write(start)
    while True:
        handler.wfile.write(drop)
        time.sleep(0.05)


def endless_redirect(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """A redirect to what is there, whose own body has no end."""
    if not handler.path.startswith("/moved/"):
        handler.wfile.write(
            f"HTTP/1.0 302 Found\r\nLocation: /moved{handler.path}\r\n\r\n".encode()
        )
        while True:
            handler.wfile.write(bytes(1 << 16))
    send(handler, content)


def dripping_redirect(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    drip(handler, f"HTTP/1.0 302 Found\r\nLocation: {handler.path}\r\nX: ".encode())


def endless_continue(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    drip(handler, b"", b"HTTP/1.1 100 Continue\r\n\r\n")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def dripping_chunk_size(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    drip(handler, CHUNKED, b"0")


def dripping_trailers(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    whole = b"%x\r\n%s\r\n0\r\n" % (len(content), content)
    drip(handler, CHUNKED + whole, b"X: .\r\n")


def dripping_end(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """Nearly all at once, which gives a fine rate from the start."""
    length = f"HTTP/1.0 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    drip(handler, length + content[:-100])


def late_and_dripping(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """Every step takes most of the time-out that the tests give."""
    time.sleep(0.3)
    dripping_end(handler, content)


def hostile_text(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.wfile.write(b"HTTP/1.0 403 \x1b[31m\x1b]0;title\x07" + b"A" * 60_000 + b"\r\n\r\n")


def endless_headers(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """One byte at a time, each well within the time-out, and never a body."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    while True:
        handler.wfile.write(b".")
        handler.wfile.flush()
        time.sleep(0.05)


def cut_after(count: int, then: Behaviour = ranged) -> Behaviour:
    """Close the connection in the middle of the body."""

    def respond(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        write = handler.wfile.write
        body_left = count

        def write_some(data: bytes) -> int:
            nonlocal body_left
            if data.startswith(b"HTTP/"):
                return write(data)
            part = data[:body_left]
            body_left -= len(part)
            return write(part)

        handler.wfile.write = write_some  # type: ignore[assignment]  # a method replaced
        then(handler, content)

    return respond


def not_http(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.wfile.write(b"220 this is a mail server\r\n")


def hang_up(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.close_connection = True


def other_range(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    span = f"bytes 7-{len(content) - 1}/{len(content)}"
    send(handler, content[7:], 206, Content_Range=span)


@contextmanager
def raw_server(answer: bytes, drop: bytes) -> Iterator[int]:
    """Answer whatever comes with some bytes, then with a few at a time, without end; the port."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(answer)
            while True:
                self.request.sendall(drop)
                time.sleep(0.05)

    class Server(ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that turns away is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def tiny_source(folder: Path, *, images: int = 6, labels: int = 6, top: int = 9) -> Source:
    """Write four tiny IDX files of MNIST's names to `folder` and describe them."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte.gz": rng.integers(0, 256, (images, 28, 28), np.uint8),
        "train-labels-idx1-ubyte.gz": np.arange(labels, dtype=np.uint8) % top,
        "t10k-images-idx3-ubyte.gz": rng.integers(0, 256, (2, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte.gz": np.array([0, top], np.uint8),
    }
    for name, array in arrays.items():
        write_idx(folder / name, array)
    one, two, three, four = (remote_file(folder / name) for name in arrays)
    return Source(
        name="tiny",
        title="Tiny",
        mirrors=("https://mirror.invalid/tiny",),
        files=(one, two, three, four),
        classes=tuple("0123456789"),
        counts=(6, 2),
    )


def remote_file(path: Path, *, known: bool = True) -> RemoteFile:
    """Describe a packed file, and what is in it if that is to be known."""
    content = path.read_bytes()
    inside = hashlib.sha256(gzip.decompress(content)).hexdigest() if known else None
    digest = hashlib.sha256(content).hexdigest()
    return RemoteFile(path.name, len(content), "sha256", digest, inside)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
