"""Draw for a network, watch it think, correct it, and watch one learn: a page in your browser.

    python scripts/draw.py

Without a checkpoint the page shows a network of MNIST's digits that comes with the scripts, so
nothing is downloaded. It is served to this machine alone; Ctrl-C ends it. Its second half trains
networks on the data sets at hand, and on your own pictures with --pictures.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fnnet_scripts.options import Parser, UsageError, at_least, exit_code, folder
from fnnet_scripts.page.pages import Pages, Shelf
from fnnet_scripts.page.server import Server
from fnnet_scripts.page.thinking import embedded, from_checkpoint

PORT = 8765
NETWORK = Path(__file__).with_name("network.npz")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("checkpoint", nargs="?", type=folder, help="what scripts/train.py wrote")
    add("--port", type=at_least(1, 65535), metavar="N", help=f"default: {PORT}, or a free one")
    add("--no-browser", action="store_true", help="print the address and open nothing")
    add("--data-dir", type=folder, metavar="DIR", help="folder of a data set's four files")
    add("--pictures", type=folder, metavar="DIR", help="train on these: a folder for each class")
    return parser.parse_args(argv)


def start(settings: argparse.Namespace) -> Server:
    """The server, listening and not yet serving."""
    directory, own = (
        str(path) if path else None for path in (settings.data_dir, settings.pictures)
    )
    shelf = Shelf(directory, own)
    checkpoint = settings.checkpoint
    pages = Pages(from_checkpoint(checkpoint, shelf) if checkpoint else embedded(NETWORK))
    if settings.port is not None:
        try:
            return Server(pages, shelf, settings.port)
        except OSError as error:
            raise UsageError(f"--port: {settings.port} cannot be had ({error})") from None
    with suppress(OSError):
        return Server(pages, shelf, PORT)
    return Server(pages, shelf)


def run(settings: argparse.Namespace) -> None:
    with start(settings) as server:
        print(f"{server.address} shows the page; Ctrl-C ends it", flush=True)
        if not settings.no_browser:
            webbrowser.open(server.address)
        server.serve_forever()


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    return exit_code("draw.py", lambda: run(settings), lambda: "draw.py: stopped")


if __name__ == "__main__":
    sys.exit(main())
