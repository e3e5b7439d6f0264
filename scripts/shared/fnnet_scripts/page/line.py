"""A line that stays open: a WebSocket (RFC 6455), on which a question needs no head of HTTP.

In a browser a question over HTTP takes several milliseconds more, which one sees as one draws.
Here are the frames alone; the server says what a message means.
"""

from __future__ import annotations

import base64
import hashlib
from io import BufferedIOBase

CONTINUED, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10
SHORT, LONG, LONGER = 125, 126, 127  # what a length of seven bits can say
NORMAL, WRONG, TOO_LONG = 1000, 1002, 1009  # why a line ends
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Ended(Exception):
    """The line is at its end; the code says why."""

    def __init__(self, code: int = NORMAL) -> None:
        self.code = code
        super().__init__(code)


def accepted(key: str) -> str:
    """The answer to a browser's key, which shows that the server speaks WebSocket.

    Raises
    ------
    ValueError
        If the key is not one of 16 bytes in base64.
    """
    if len(base64.b64decode(key.encode(), validate=True)) != 16:
        raise ValueError("Sec-WebSocket-Key must be 16 bytes in base64")
    return base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest()).decode()


def message(incoming: BufferedIOBase, outgoing: BufferedIOBase, largest: int) -> bytes:
    """The next message; pings that come before it are answered.

    Raises
    ------
    Ended
        If the other side closes the line, goes away, or sends what is no message of text with at
        most `largest` bytes.
    """
    content, begun = b"", False
    while True:
        last, kind, part = _frame(incoming, largest - len(content))
        if kind == CLOSE:
            raise Ended
        if kind == PING:
            outgoing.write(frame(part, PONG))
            outgoing.flush()
        elif kind != PONG:
            if kind != (CONTINUED if begun else TEXT):
                raise Ended(WRONG)
            content, begun = content + part, True
            if last:
                return content


def _frame(incoming: BufferedIOBase, largest: int) -> tuple[bool, int, bytes]:
    """Whether a frame is its message's last, its kind and its content."""
    first, second = _exactly(incoming, 2)
    last, kind, size = bool(first & 0x80), first & 0x0F, second & 0x7F
    masked, reserved = second & 0x80, first & 0x70
    if reserved or not masked or (kind >= CLOSE and (size > SHORT or not last)):
        raise Ended(WRONG)
    if size > SHORT:
        size = int.from_bytes(_exactly(incoming, 2 if size == LONG else 8), "big")
    if kind < CLOSE and size > largest:
        raise Ended(TOO_LONG)
    mask = _exactly(incoming, 4)
    content = _exactly(incoming, size)
    whole = (mask * (size // 4 + 1))[:size]
    plain = int.from_bytes(content, "big") ^ int.from_bytes(whole, "big")
    return last, kind, plain.to_bytes(size, "big")


def _exactly(incoming: BufferedIOBase, size: int) -> bytes:
    content = incoming.read(size)
    if len(content) < size:
        raise Ended
    return content


def frame(content: bytes, kind: int = TEXT) -> bytes:
    """A frame as a server sends it: whole and without a mask."""
    size = len(content)
    if size <= SHORT:
        length = bytes([size])
    elif size < 2**16:
        length = bytes([LONG]) + size.to_bytes(2, "big")
    else:
        length = bytes([LONGER]) + size.to_bytes(8, "big")
    return bytes([0x80 | kind]) + length + content
