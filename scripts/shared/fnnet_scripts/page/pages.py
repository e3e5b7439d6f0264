"""What the server keeps: data sets at hand, and for each open page its network and its run."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import fnnet
from fnnet.data.datasets import NAMES
from fnnet_scripts.page.folders import OWN, read_folder
from fnnet_scripts.page.learning import Progress, Settings
from fnnet_scripts.page.strokes import Image
from fnnet_scripts.page.thinking import Lesson, Network

IDLE = 1800.0  # seconds without a request, after which a page gives its memory back
MOST_PAGES = 64


@dataclass(slots=True)
class Run:
    """A run that a page draws steps from."""

    settings: Settings
    data: fnnet.Dataset
    steps: Iterator[Progress]
    last: Progress
    history: list[fnnet.Metrics]


@dataclass(slots=True)
class Page:
    """An open page: the network that it began with, and the one it draws for now.

    Its lock is held while one of its requests is answered.
    """

    first: Network
    network: Network
    state: fnnet.RMSPropState
    image: Image | None = None
    lesson: Lesson | None = None
    run: Run | None = None
    seen: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def use(self, network: Network) -> None:
        """Draw for a network, as it is before any lesson."""
        self.network, self.lesson = network, None
        self.state = fnnet.rmsprop_init(network.params)


class Gone(Exception):
    """The page was left alone for long, or never was."""


class Full(Exception):
    """There are as many pages as the server holds."""


class Pages:
    """The open pages, by names that cannot be guessed.

    Parameters
    ----------
    network : what a new page draws for
    idle : seconds without a request, after which a page is forgotten
    """

    def __init__(self, network: Network, idle: float = IDLE) -> None:
        self.network, self.idle = network, idle
        self._pages: dict[str, Page] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._pages)

    def open(self) -> str:
        """A new page; returns its name."""
        name = secrets.token_urlsafe(16)
        page = Page(self.network, self.network, fnnet.rmsprop_init(self.network.params))
        with self._lock:
            if len(self._pages) >= MOST_PAGES:
                raise Full
            self._pages[name] = page
        return name

    def get(self, name: object) -> Page:
        """The page of a name, which has been seen now."""
        with self._lock:
            page = self._pages.get(name) if isinstance(name, str) else None
            if page is None:
                raise Gone
            page.seen = time.monotonic()
            return page

    def close(self, name: object) -> None:
        """Forget a page."""
        with self._lock:
            if isinstance(name, str):
                self._pages.pop(name, None)

    def sweep(self) -> None:
        """Forget the pages that were left alone."""
        now = time.monotonic()
        with self._lock:
            for name, page in list(self._pages.items()):
                if now - page.seen > self.idle and not page.lock.locked():
                    del self._pages[name]


class Shelf(Mapping[str, fnnet.Dataset]):
    """The data sets at hand, each loaded when it is first asked for; nothing is downloaded.

    Parameters
    ----------
    directory : folder of a published data set's files, beside the cache folder
    own : folder of pictures by class
    """

    def __init__(self, directory: str | None = None, own: str | None = None) -> None:
        self._lock = threading.RLock()
        self._beginning = threading.Lock()
        self._loading: threading.Thread | None = None
        self._loads: dict[str, tuple[str, Callable[[], fnnet.Dataset]]] = {}
        self._loaded: dict[str, fnnet.Dataset] = {}
        for name in ("digits", *(name for name in NAMES if name != "digits")):
            place = f", {directory!r}" if directory and name != "digits" else ""
            self._loads[name] = (f"fnnet.load_dataset({name!r}{place})", _loader(name, directory))
        if own is not None:
            self._loads[OWN] = (f"read_folder({own!r})", lambda: read_folder(own))
            self._loaded[OWN] = read_folder(own)  # what is wrong with it is said at once

    def ready(self, seconds: float) -> bool:
        """Whether all is loaded: it is loaded in the background, and waited for this long."""
        with self._beginning:
            if self._loading is None:
                self._loading = threading.Thread(target=self.__len__, daemon=True)
                self._loading.start()
        self._loading.join(seconds)
        return not self._loading.is_alive()

    def __getitem__(self, name: str) -> fnnet.Dataset:
        with self._lock:
            if name not in self._loaded:
                try:
                    self._loaded[name] = self._loads[name][1]()
                except (OSError, ValueError):
                    self._loads.pop(name)
                    raise KeyError(name) from None
            return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        try:
            self[name]  # type: ignore[index]  # another type is no name
        except (KeyError, TypeError):
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            names = list(self._loads)
        return (name for name in names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def expression(self, name: str) -> str:
        """The line of Python that loads a data set."""
        return self._loads[name][0]


def _loader(name: str, directory: str | None) -> Callable[[], fnnet.Dataset]:
    return lambda: fnnet.load_dataset(name, directory, download=False)
