"""One exchange with a server over HTTP, bounded in time whatever the server does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import http.client
    import socket
    import urllib.request

# What deals with networks is imported where it is used: most programs find their files on the disk.

CHUNK = 1 << 16
MIN_RATE = 1000  # bytes a second, below which a server counts as stuck
_LONGEST_ANSWER = 200  # characters of what a server says that reach a message

Event: TypeAlias = "tuple[int, bytes]"


class Refusal(Exception):
    """What a mirror answered instead of the file, and how to go on."""

    def __init__(self, answer: str, *, retry: bool = False, restart: bool = False) -> None:
        super().__init__(_one_line(answer))
        self.retry = retry  # the same mirror may do better
        self.restart = restart  # the bytes so far are no good


def stream_from(url: str, size: int, start: int, timeout: float) -> Generator[Event, None, None]:
    """Yield (offset, bytes) of the file at `url` from `start` on, or from 0 if it must be.

    Bytes buy time: each that comes moves the deadline by a thousandth of a second, but to no later
    than one time-out from now. Time that goes by without them, in whatever way, uses it up.
    """
    import http.client
    import urllib.error

    # The consumer's own exceptions, a full disk say, are not raised in here.
    first = offset = start
    try:
        with _exchange(url, size, start, timeout) as receive:
            first, _ = receive(time.monotonic() + timeout, f"no answer in {timeout:.3g} seconds")
            deadline = time.monotonic() + timeout
            offset = first
            while offset < size:
                _, chunk = receive(deadline, f"fewer than {MIN_RATE} bytes a second")
                if not chunk:
                    break
                yield offset, chunk
                offset += len(chunk)
                deadline = min(time.monotonic() + timeout, deadline + len(chunk) / MIN_RATE)
    except urllib.error.HTTPError as error:
        retry = error.code in (408, 416, 429) or error.code >= 500
        answer = f"HTTP {error.code} {error.reason}"
        raise Refusal(answer, retry=retry, restart=error.code == 416) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        passing = isinstance(cause, (ConnectionResetError, http.client.HTTPException))
        retry = passing or (offset > first and not isinstance(cause, TimeoutError))
        raise Refusal(str(cause) or type(cause).__name__, retry=retry) from error
    if offset < size:
        raise Refusal(f"cut off after {offset} of {size} bytes", retry=True)


@contextmanager
def _exchange(
    url: str, size: int, start: int, timeout: float
) -> Iterator[Callable[[float, str], Event]]:
    """Ask for a file in a thread of its own; yield what waits for its next event.

    A time-out of a socket begins anew with each byte, so that a server that sends one now and then
    can stretch a redirect, a header, a handshake or the size of a chunk without end. Whoever waits
    here for another thread stops when it wants to, and then the connections are cut.

    The events are (first offset, b"") once there is an answer, (offset, bytes) for each piece, and
    (offset, b"") at the end; what the thread raises is raised where it is waited for.
    """
    import queue
    import socket
    import threading
    import urllib.error

    inbox: queue.Queue[Event | Exception] = queue.Queue(16)
    over = threading.Event()
    taps: list[socket.socket] = []

    def cut() -> None:
        for tap in taps:
            with suppress(OSError):  # cut already
                tap.shutdown(socket.SHUT_RDWR)

    def connect(address: tuple[str, int], *args: object) -> socket.socket:
        # With half of the time, a second address has its turn where the first is silent.
        connected = socket.create_connection(address, timeout / 2)
        connected.settimeout(2 * timeout)  # should all else fail
        taps.append(connected.dup())  # TLS takes the connection itself away
        if over.is_set():
            cut()
        return connected

    def tell(event: Event | Exception) -> None:
        while not over.is_set():
            with suppress(queue.Full):
                return inbox.put(event, timeout=0.1)

    def ask() -> None:
        try:
            with _open(url, start, connect) as response:
                offset = _first_offset(response, start, size)
                tell((offset, b""))
                while offset < size and not over.is_set():
                    chunk = response.read1(min(CHUNK, size - offset))
                    tell((offset, chunk))
                    offset += len(chunk)
                    if not chunk:
                        break
        except Exception as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is the answer, too
            tell(error)
        finally:
            for tap in taps:
                tap.close()

    def receive(deadline: float, lateness: str) -> Event:
        try:
            event = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(lateness) from None
        if isinstance(event, Exception):
            raise event
        return event

    threading.Thread(target=ask, name="fnnet download", daemon=True).start()
    try:
        yield receive
    finally:
        over.set()
        cut()


def _open(url: str, start: int, connect: Callable[..., socket.socket]) -> http.client.HTTPResponse:
    import urllib.request

    headers = {"User-Agent": "fnnet", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    response: http.client.HTTPResponse = _opener(connect).open(request)
    return response


def _opener(connect: Callable[..., socket.socket]) -> urllib.request.OpenerDirector:
    """What opens URLs over such connections, redirecting to nothing less."""
    import http.client
    import urllib.error
    import urllib.request

    def over(kind: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = kind(host, **options)
            # Not public, but the only way to reach a connection before TLS and proxies have it.
            made._create_connection = connect  # type: ignore[attr-defined]
            return made

        return connection

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(over(http.client.HTTPConnection), req)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(over(http.client.HTTPSConnection), req)

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(
            self,
            req: urllib.request.Request,
            fp: IO[bytes],
            code: int,
            msg: str,
            headers: http.client.HTTPMessage,
            newurl: str,
        ) -> urllib.request.Request | None:
            fp.close()  # its body, which nobody wants, may have no end
            allowed = ("https:",) if req.type == "https" else ("https:", "http:")
            if not newurl.startswith(allowed):
                raise urllib.error.URLError(f"redirects to {newurl}, which is not followed")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return urllib.request.build_opener(Redirects, Plain, Secure)


def _first_offset(response: http.client.HTTPResponse, start: int, size: int) -> int:
    """Return where in the file the response begins, after a look at the length it declares."""
    if response.status == 206:
        answer = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer)
        if match is None or int(match[1]) != start or match[2] not in ("*", str(size)):
            raise Refusal(f"answered with the range {answer!r}", retry=True, restart=True)
        return start
    length = response.headers.get("Content-Length")
    kind = response.headers.get_content_type()
    if length is None and kind == "text/html":
        raise Refusal("an HTML page")
    if length is not None and length != str(size):
        raise Refusal(f"{length} bytes of {kind}, expected {size}")
    return 0


def _one_line(text: str) -> str:
    """What a mirror says, in one line of no more than its share, without control characters."""
    words = " ".join(text[: 2 * _LONGEST_ANSWER].split())
    printable = "".join(c if c.isprintable() else "?" for c in words)
    return printable if len(printable) <= _LONGEST_ANSWER else printable[:_LONGEST_ANSWER] + "..."
