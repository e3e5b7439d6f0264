"""Downloads: every bad mirror is passed over, and only whole files appear."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest

from fnnet.data import download
from fnnet.data.download import DownloadError, RemoteFile, fetch
from tests.data import mirror as m

CONTENT = bytes(range(256)) * 1000
FILE = RemoteFile("data.gz", len(CONTENT), "sha256", hashlib.sha256(CONTENT).hexdigest())
FILES = {FILE.name: CONTENT}
LEFTOVER = ".data.gz.part"


@pytest.fixture(autouse=True)
def quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")


def test_a_good_mirror_delivers_the_file_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    with m.mirror(FILES) as server:
        assert fetch(FILE, folder, [server.url]) == server.url
    assert m.contents(folder) == FILES
    assert server.requests == ["/data.gz"]


BAD = {
    "HTTP 403": (m.status(403), 1),
    "HTTP 404": (m.status(404), 1),
    "HTTP 503": (m.status(503), 3),
    "sha256": (m.wrong_bytes, 1),
    f"{len(CONTENT) - 1} bytes of application/x-gzip, expected {len(CONTENT)}": (
        m.wrong_length,
        1,
    ),
    f"more than the {len(CONTENT)} bytes": (m.too_long, 1),
    "24 bytes of text/html, expected": (m.html, 1),
    "an HTML page": (m.html_without_length, 1),
    "HTTP 302 The HTTP server returned a redirect error": (m.redirect_loop, 5),
    "redirects to ftp://example.invalid/, which is not followed": (
        m.redirect("ftp://example.invalid/"),
        1,
    ),
    "timed out": (m.silent, 1),
    "fewer than 1000 bytes a second": (m.dripping, 3),
    "no answer in 0.8 seconds": (m.endless_headers, 1),
    f"cut off after 0 of {len(CONTENT)} bytes": (m.cut_after(0), 3),
    "220 this is a mail server": (m.not_http, 3),
    "Remote end closed connection": (m.hang_up, 3),
    "answered with the range 'bytes 7-": (m.other_range, 3),
}


SLOW = (m.silent, m.dripping, m.endless_headers)


@pytest.mark.parametrize("answer", BAD)
def test_a_bad_mirror_is_passed_over(tmp_path: Path, answer: str) -> None:
    behaviour, requests = BAD[answer]
    timeout = 0.4 if behaviour in SLOW else 5.0
    with m.mirror(FILES, behaviour) as bad, m.mirror(FILES, m.ranged) as fine:
        assert fetch(FILE, tmp_path, [bad.url, fine.url], timeout=timeout) == fine.url
    assert m.contents(tmp_path) == FILES
    assert len(bad.requests) == requests


@pytest.mark.parametrize("answer", BAD)
def test_when_all_mirrors_fail_the_error_says_what_each_answered(
    tmp_path: Path, answer: str
) -> None:
    behaviour, _ = BAD[answer]
    timeout = 0.4 if behaviour in SLOW else 5.0
    forbidden, bad = m.mirror(FILES, m.status(403)), m.mirror(FILES, behaviour)
    with forbidden as one, bad as two, pytest.raises(DownloadError) as caught:
        fetch(FILE, tmp_path, [one.url, two.url], timeout=timeout)
    lines = str(caught.value).splitlines()
    assert lines[0] == "no mirror delivered data.gz:"
    assert lines[1] == f"  {one.url}: HTTP 403 Forbidden"
    assert lines[2].startswith(f"  {two.url}: ")
    assert answer in lines[2]
    assert set(m.contents(tmp_path)) <= {LEFTOVER}


def test_a_folder_into_which_nothing_came_is_not_left_behind(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "typo"
    with m.mirror(FILES, m.status(404)) as server, pytest.raises(DownloadError):
        fetch(FILE, folder, [server.url])
    assert list(tmp_path.iterdir()) == []
    folder.mkdir(parents=True)  # the user's own
    with m.mirror(FILES, m.status(404)) as server, pytest.raises(DownloadError):
        fetch(FILE, folder, [server.url])
    assert folder.is_dir()


def test_nobody_listening_and_no_such_host_are_passed_over(tmp_path: Path) -> None:
    with m.mirror(FILES) as gone:
        pass
    mirrors = [gone.url, "http://mirror.invalid/", "http://127.0.0.1:none/"]
    with pytest.raises(DownloadError, match=r"refused(.|\n)*mirror\.invalid(.|\n)*none"):
        fetch(FILE, tmp_path, mirrors)
    assert m.contents(tmp_path) == {}


def test_a_server_that_speaks_no_tls_is_passed_over(tmp_path: Path) -> None:
    with m.mirror(FILES) as server:
        insecure = server.url.replace("http:", "https:")
        assert fetch(FILE, tmp_path, [insecure, server.url]) == server.url
    assert m.contents(tmp_path) == FILES


def test_a_passing_fault_is_tried_again_at_the_same_mirror(tmp_path: Path) -> None:
    with m.mirror(FILES, m.status(503), m.hang_up, m.good) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


def test_a_server_that_declares_no_length_is_fine(tmp_path: Path) -> None:
    with m.mirror(FILES, m.without_length) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with m.mirror(FILES, m.cut_after(1000), m.cut_after(2000), m.ranged) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES
    assert server.requests == ["/data.gz", "/data.gz bytes=1000-", "/data.gz bytes=3000-"]


def test_the_next_mirror_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    broken = m.mirror(FILES, m.cut_after(1000), m.status(404))
    with broken as bad, m.mirror(FILES, m.ranged) as fine:
        fetch(FILE, tmp_path, [bad.url, fine.url])
    assert m.contents(tmp_path) == FILES
    assert fine.requests == ["/data.gz bytes=1000-"]


def test_the_next_call_goes_on_where_the_last_stopped(tmp_path: Path) -> None:
    broken = m.mirror(FILES, m.cut_after(1000), m.status(404))
    with broken as server, pytest.raises(DownloadError):
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == {LEFTOVER: CONTENT[:1000]}
    with m.mirror(FILES, m.ranged) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES
    assert server.requests == ["/data.gz bytes=1000-"]


def test_an_interrupt_keeps_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with m.mirror(FILES, m.cut_after(1000)) as server, pytest.raises(KeyboardInterrupt):
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == {LEFTOVER: CONTENT[:1000]}


@pytest.mark.parametrize("behaviour", [m.good, m.status(416), m.other_range])
def test_a_server_without_ranges_begins_anew(tmp_path: Path, behaviour: m.Behaviour) -> None:
    (tmp_path / LEFTOVER).write_bytes(CONTENT[:1000])
    with m.mirror(FILES, behaviour, m.good) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


@pytest.mark.parametrize("total", [len(CONTENT) + 1, 7])
def test_a_range_of_another_file_is_not_appended(tmp_path: Path, total: int) -> None:
    def other(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        m.send(handler, content[1000:], 206, Content_Range=f"bytes 1000-{total - 1}/{total}")

    (tmp_path / LEFTOVER).write_bytes(CONTENT[:1000])
    with m.mirror(FILES, other, m.good) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


@pytest.mark.parametrize(
    "left", [b"junk" * 100, bytes(len(CONTENT)), CONTENT + b"more", CONTENT[:-1] + b"!"]
)
def test_a_bad_leftover_is_not_blamed_on_the_mirror(tmp_path: Path, left: bytes) -> None:
    (tmp_path / LEFTOVER).write_bytes(left)
    with m.mirror(FILES, m.ranged) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


def test_a_whole_leftover_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / LEFTOVER).write_bytes(CONTENT)
    fetch(FILE, tmp_path, ["http://mirror.invalid/"])
    assert m.contents(tmp_path) == FILES


def test_the_part_of_a_killed_process_is_taken_over_but_not_that_of_a_live_one(
    tmp_path: Path,
) -> None:
    killed, older, live = (tmp_path / f".data.gz.{digit * 16}.part" for digit in "abc")
    for part, age in ((killed, 130), (older, 9000), (live, 110)):
        part.write_bytes(CONTENT[:1000])
        os.utime(part, (time.time() - age,) * 2)
    with m.mirror(FILES, m.ranged) as server:
        fetch(FILE, tmp_path, [server.url])
    assert server.requests == ["/data.gz bytes=1000-"]
    assert m.contents(tmp_path) == {live.name: CONTENT[:1000], **FILES}


FETCH = """
import os, resource, signal, sys
from pathlib import Path
from fnnet.data.download import RemoteFile, fetch
replace, moment = os.replace, sys.argv[1]
def killed(a, b):
    if moment == "after":
        replace(a, b)
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
else:
    os.replace = killed
fetch(RemoteFile(sys.argv[2], int(sys.argv[3]), "sha256", sys.argv[4]), Path(), [sys.argv[5]])
"""


def fetch_apart(folder: Path, moment: str, server: m.Mirror) -> subprocess.CompletedProcess[str]:
    """Fetch in a process that is killed around the move into place, or whose disk is full."""
    file = [FILE.name, str(FILE.size), FILE.digest]
    command = [sys.executable, "-c", FETCH, moment, *file, server.url]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits are POSIX's")


@posix
@pytest.mark.parametrize("old", [None, b"cut"])
def test_killed_before_the_move_into_place_the_old_file_stays_and_the_new_is_kept(
    tmp_path: Path, old: bytes | None
) -> None:
    if old is not None:
        (tmp_path / FILE.name).write_bytes(old)
    with m.mirror(FILES, m.ranged) as server:
        assert fetch_apart(tmp_path, "before", server).returncode == -9
        (part,) = tmp_path.glob(".data.gz.*.part")
        assert part.read_bytes() == CONTENT
        assert m.contents(tmp_path).get(FILE.name) == old
        os.utime(part, (time.time() - 130,) * 2)
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES
    assert server.requests == ["/data.gz"]


@posix
def test_killed_after_the_move_into_place_the_file_is_whole_and_alone(tmp_path: Path) -> None:
    with m.mirror(FILES) as server:
        assert fetch_apart(tmp_path, "after", server).returncode == -9
    assert m.contents(tmp_path) == FILES


@posix
def test_on_a_full_disk_a_download_stops_with_its_cause_and_goes_on_later(tmp_path: Path) -> None:
    (tmp_path / FILE.name).write_bytes(b"cut")
    with m.mirror(FILES, m.ranged) as server:
        full = fetch_apart(tmp_path, "full", server)
        assert full.returncode == 1
        reason = f"cannot write {FILE.name}: File too large; make room and try again"
        assert full.stderr.splitlines()[-1] == f"OSError: [Errno 27] {reason}"
        kept = m.contents(tmp_path)
        assert kept[FILE.name] == b"cut"
        assert CONTENT.startswith(kept[LEFTOVER])
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES
    assert server.requests == ["/data.gz", f"/data.gz bytes={len(kept[LEFTOVER])}-"]


def test_a_damaged_file_is_replaced_only_by_a_good_one(tmp_path: Path) -> None:
    (tmp_path / FILE.name).write_bytes(b"cut")
    with m.mirror(FILES, m.wrong_bytes, m.good) as server:
        with pytest.raises(DownloadError):
            fetch(FILE, tmp_path, [server.url])
        assert m.contents(tmp_path) == {FILE.name: b"cut"}
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


def test_a_full_disk_is_not_blamed_on_the_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    reason = r"cannot write .*data\.gz: No space left on device; make room and try again"
    with m.mirror(FILES) as server, pytest.raises(OSError, match=reason) as caught:
        fetch(FILE, tmp_path, [server.url])
    assert not isinstance(caught.value, DownloadError)


def held_open(part: Path, target: Path) -> None:
    raise PermissionError(13, "another process reads the file")


def test_a_file_that_another_process_installed_and_reads_is_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE.name).write_bytes(CONTENT)
    monkeypatch.setattr(download, "move_into_place", held_open)
    with m.mirror(FILES) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


@pytest.mark.parametrize("there", [None, b"cut"])
def test_a_file_that_cannot_be_installed_is_kept_for_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes | None
) -> None:
    if there is not None:
        (tmp_path / FILE.name).write_bytes(there)
    monkeypatch.setattr(download, "move_into_place", held_open)
    with m.mirror(FILES) as server, pytest.raises(PermissionError):
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path)[LEFTOVER] == CONTENT


@pytest.mark.parametrize(
    ("mirrors", "error"),
    [("http://a/", TypeError), ([], ValueError), (["ftp://a/"], ValueError), (["/a"], ValueError)],
)
def test_mirrors_that_are_no_urls_are_refused_before_anything_happens(
    tmp_path: Path, mirrors: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"^mirrors: .*expected"):
        fetch(FILE, tmp_path / "new", mirrors)
    assert m.contents(tmp_path) == {}


@pytest.mark.parametrize("url", ["http://example.org/a", "ftp://example.org/a"])
def test_https_is_never_redirected_to_anything_less(url: str) -> None:
    handlers = download._opener(1.0).__dict__["handlers"]
    (redirects,) = (h for h in handlers if isinstance(h, urllib.request.HTTPRedirectHandler))
    request = urllib.request.Request("https://example.org/a")

    def follow(url: str) -> urllib.request.Request | None:
        return redirects.redirect_request(request, io.BytesIO(), 302, "", HTTPMessage(), url)

    with pytest.raises(urllib.error.URLError, match="which is not followed"):
        follow(url)
    followed = follow("https://example.org/b")
    assert followed is not None
    assert followed.full_url == "https://example.org/b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "60")
    still = SimpleNamespace(monotonic=lambda: 1.0, time=time.time)
    monkeypatch.setattr(download, "time", still)
    with m.mirror(FILES) as server:
        fetch(FILE, tmp_path, [server.url])
    assert isinstance(sys.stderr, Terminal)
    first, *rest = sys.stderr.getvalue().split("\r")
    assert first == ""
    assert rest[-1] == f"data.gz [{'#' * 20}] 0.3 of 0.3 MB\n"
    assert all(len(line) < 60 for line in rest)
    assert len(rest) == 2  # the first chunk and the last: all came in one tenth of a second


@pytest.mark.parametrize("terminal", [True, False])
def test_without_a_terminal_or_when_not_wanted_nothing_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with m.mirror(FILES) as server:
        fetch(FILE, tmp_path, [server.url], progress=not terminal)
    assert stream.getvalue() == ""


def test_a_process_without_stderr_downloads_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with m.mirror(FILES) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


def test_a_terminal_where_nothing_came_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with m.mirror(FILES, m.status(403)) as server, pytest.raises(DownloadError):
        fetch(FILE, tmp_path, [server.url])
    assert isinstance(sys.stderr, Terminal)
    assert sys.stderr.getvalue() == ""
