"""Downloads: every bad mirror is passed over, and only whole files appear."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest

from fnnet.data import download, exchange
from fnnet.data.download import DownloadError, RemoteFile, fetch
from fnnet.storage import files
from tests.data import mirror as m
from tests.storage.systems import take_away_posix

CONTENT = bytes(range(256)) * 1000
FILE = RemoteFile("data.gz", len(CONTENT), "sha256", hashlib.sha256(CONTENT).hexdigest())
FILES = {FILE.name: CONTENT}
LEFTOVER = ".data.gz.part"


@pytest.fixture(autouse=True, params=["posix", "plain"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs on this system and on one that lacks what is POSIX's, both in haste."""
    monkeypatch.setattr(download, "_PAUSE", 0.001)
    monkeypatch.setattr(files, "_PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    if request.param == "plain":
        take_away_posix(monkeypatch)
    return str(request.param)


# What waits is tried once: it ends before it has anything to do with the disk.
once = pytest.mark.parametrize("system", ["posix"], indirect=True)


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
    "24 bytes of text/html, expected": (m.html, 1),
    "an HTML page": (m.html_without_length, 1),
    "HTTP 302 The HTTP server returned a redirect error": (m.redirect_loop, 5),
    "redirects to ftp://example.invalid/, which is not followed": (
        m.redirect("ftp://example.invalid/"),
        1,
    ),
    "no answer in ": (m.silent, 1),
    "fewer than 1000 bytes a second": (m.dripping, 1),
    f"cut off after 0 of {len(CONTENT)} bytes": (m.cut_after(0), 3),
    "220 this is a mail server": (m.not_http, 3),
    "Remote end closed connection": (m.hang_up, 3),
    "answered with the range 'bytes 7-": (m.other_range, 3),
}


SLOW = (m.silent, m.dripping)  # which cost a test its whole time-out


@pytest.mark.parametrize("answer", BAD)
def test_a_bad_mirror_is_passed_over(tmp_path: Path, answer: str) -> None:
    behaviour, requests = BAD[answer]
    timeout = 1.0 if behaviour in SLOW else 5.0
    with m.mirror(FILES, behaviour) as bad, m.mirror(FILES, m.ranged) as fine:
        assert fetch(FILE, tmp_path, [bad.url, fine.url], timeout=timeout) == fine.url
    assert m.contents(tmp_path) == FILES
    assert len(bad.requests) == requests


@pytest.mark.parametrize("answer", BAD)
def test_when_all_mirrors_fail_the_error_says_what_each_answered(
    tmp_path: Path, answer: str
) -> None:
    behaviour, _ = BAD[answer]
    timeout = 1.0 if behaviour in SLOW else 5.0
    forbidden, bad = m.mirror(FILES, m.status(403)), m.mirror(FILES, behaviour)
    with forbidden as one, bad as two, pytest.raises(DownloadError) as caught:
        fetch(FILE, tmp_path, [one.url, two.url], timeout=timeout)
    lines = str(caught.value).splitlines()
    assert lines[0] == "no mirror delivered data.gz:"
    assert lines[1] == f"  {one.url}: HTTP 403 Forbidden;"
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
    with socket.socket() as deaf:  # which keeps others from its port
        deaf.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        mirrors = [gone, "http://mirror.invalid/", "http://127.0.0.1:none/"]
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


def test_what_a_server_sends_after_the_file_does_not_count(tmp_path: Path) -> None:
    with m.mirror(FILES, m.too_long) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


def nobody_is_left_waiting() -> bool:
    """Whether the threads of downloads end, once they have been given up."""
    until = time.monotonic() + 60
    while any(thread.name == "fnnet download" for thread in threading.enumerate()):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


TWICE = 2 * 0.5 + 1.0  # the time-out that the tests give, and a second for a busy machine


def seconds_of_a_failure(urls: list[str], folder: Path, answer: str, most: float) -> float:
    """How long a download takes to fail: the least of three, should a machine be busier yet."""
    least = math.inf
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(DownloadError, match=answer):
            fetch(FILE, folder, urls, timeout=0.5)
        least = min(least, time.monotonic() - began)
        if least < most:
            break
    return least


STRETCHED = [
    m.endless_headers,
    m.endless_continue,
    m.dripping_redirect,
    m.dripping_chunk_size,
    m.dripping_end,
    m.late_and_dripping,
]


@once
@pytest.mark.parametrize("behaviour", STRETCHED, ids=lambda behaviour: behaviour.__name__)
def test_no_way_to_stretch_an_answer_lasts_twice_the_time_out(
    tmp_path: Path, behaviour: m.Behaviour
) -> None:
    answer = r"no answer in|fewer than"
    with m.mirror(FILES, behaviour) as server:
        assert seconds_of_a_failure([server.url], tmp_path, answer, TWICE) < TWICE
        assert nobody_is_left_waiting()


@once
@pytest.mark.parametrize("late", [m.status(503), m.status(416), m.hang_up], ids=[503, 416, "cut"])
def test_passing_faults_that_come_late_share_twice_the_time_out(
    tmp_path: Path, late: m.Behaviour
) -> None:
    def respond(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        time.sleep(1.5)
        late(handler, content)

    with (
        m.mirror(FILES, respond) as server,
        pytest.raises(DownloadError, match=r"no answer in 1\."),
    ):
        fetch(FILE, tmp_path, [server.url], timeout=2.0)
    # Each of three may take two seconds alone. Of four the first took 1.5, the second has its half
    # of what is left.
    assert len(server.requests) == 2


@pytest.mark.parametrize("behaviour", [m.endless_redirect, m.dripping_trailers])
def test_an_end_that_never_comes_is_not_waited_for(tmp_path: Path, behaviour: m.Behaviour) -> None:
    with m.mirror(FILES, behaviour) as server:
        began = time.monotonic()
        fetch(FILE, tmp_path, [server.url], timeout=60)
        assert time.monotonic() - began < 50
        assert nobody_is_left_waiting()
    assert m.contents(tmp_path) == FILES


@once
def test_a_handshake_and_a_proxy_that_never_end_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = r"no answer in 0\.5 seconds"
    # The start of a long TLS record; a proxy's answer to CONNECT with headers without end.
    with m.raw_server(b"\x16\x03\x03\x3f\xff", b"\2") as handshake:
        url = f"https://127.0.0.1:{handshake}/"
        assert seconds_of_a_failure([url], tmp_path, answer, TWICE) < TWICE
        assert nobody_is_left_waiting()
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with m.raw_server(b"HTTP/1.0 200 OK\r\n", b"X: y\r\n") as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy}")
        url = "https://mirror.invalid/"
        assert seconds_of_a_failure([url], tmp_path, answer, TWICE) < TWICE
        assert nobody_is_left_waiting()


@once
def test_a_slow_mirror_that_keeps_its_rate_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steady(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        for start in range(0, 2000, 200):
            handler.wfile.write(content[start : start + 200])
            time.sleep(0.15)

    small = RemoteFile("data.gz", 2000, "sha256", hashlib.sha256(CONTENT[:2000]).hexdigest())
    with m.mirror(FILES, steady) as server:
        fetch(small, tmp_path, [server.url], timeout=0.7)  # less than half of what it takes
    assert m.contents(tmp_path) == {"data.gz": CONTENT[:2000]}


def test_what_a_server_says_reaches_the_message_short_and_without_control_characters(
    tmp_path: Path,
) -> None:
    def odd_type(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        m.send(handler, b"", Content_Type="A" * 60_000, Content_Length="1\x1b[31m")

    hostile = m.mirror(FILES, m.hostile_text), m.mirror(FILES, odd_type)
    with hostile[0] as one, hostile[1] as two, pytest.raises(DownloadError) as caught:
        fetch(FILE, tmp_path, [one.url, two.url])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() and len(line) < 300 for line in lines)
    assert "HTTP 403 ?[31m?]0;title?AAAA" in lines[1]


@pytest.mark.parametrize("timeout", [None, math.inf, math.nan, 0, -1, 1e300, 10**400, "5"])
def test_a_time_out_that_is_no_number_of_seconds_is_refused(tmp_path: Path, timeout: float) -> None:
    with pytest.raises(ValueError, match=r"timeout must be a number of seconds in \(0, 86400\]"):
        fetch(FILE, tmp_path / "new", ["http://127.0.0.1:1/"], timeout=timeout)
    assert m.contents(tmp_path) == {}


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


def test_the_part_of_a_killed_process_is_copied_but_not_that_of_a_live_one(
    tmp_path: Path, system: str
) -> None:
    killed, older, live = (tmp_path / f".data.gz.{digit * 16}.part" for digit in "abc")
    for part, age, size in ((killed, 130, 900), (older, 9000, 1000), (live, 110, 5000)):
        part.write_bytes(CONTENT[:size])
        os.utime(part, (time.time() - age,) * 2)
    with open(live, "rb") as file, m.mirror(FILES, m.ranged) as server:
        if system == "posix":
            fcntl = pytest.importorskip("fcntl")
            fcntl.flock(file, fcntl.LOCK_EX)
        fetch(FILE, tmp_path, [server.url])
    assert server.requests == ["/data.gz bytes=1000-"]
    assert m.contents(tmp_path) == {live.name: CONTENT[:5000], **FILES}


def test_a_finished_download_leaves_none_of_what_killed_ones_left(
    tmp_path: Path, system: str
) -> None:
    for i in range(24):
        part = tmp_path / f".data.gz.{i:016x}.part"
        part.write_bytes(CONTENT[: 1000 + i])
        if system == "plain":  # where only the age tells
            os.utime(part, (time.time() - 130,) * 2)
    (tmp_path / LEFTOVER).write_bytes(CONTENT[:10])
    with m.mirror(FILES, m.ranged) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES
    assert server.requests == ["/data.gz bytes=1023-"]


@pytest.mark.parametrize("name", [LEFTOVER, f".data.gz.{'a' * 16}.part"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_what_is_no_file_in_the_place_of_a_leftover_is_neither_followed_nor_in_the_way(
    tmp_path: Path, system: str, name: str, kind: str
) -> None:
    folder, precious = tmp_path / "folder", tmp_path / "precious"
    folder.mkdir()
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo") or system == "plain":
            pytest.skip("no pipes with names")
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(precious)
    if kind == "link":
        precious.write_bytes(CONTENT[:1000])
        os.utime(precious, (time.time() - 9000,) * 2)
    broken = m.mirror(FILES, m.cut_after(500), m.status(404))
    with broken as server, pytest.raises(DownloadError):
        fetch(FILE, folder, [server.url])
    with m.mirror(FILES, m.ranged) as server:
        fetch(FILE, folder, [server.url])
    assert (folder / FILE.name).read_bytes() == CONTENT
    assert not (folder / FILE.name).is_symlink()
    if kind == "link":
        assert precious.read_bytes() == CONTENT[:1000]
    else:
        assert not precious.exists()


STOPPED = """
import sys
from pathlib import Path
from fnnet.data.download import RemoteFile, fetch
if sys.argv[1] == "plain":
    sys.modules["fcntl"] = None
fetch(RemoteFile(sys.argv[2], int(sys.argv[3]), "sha256", sys.argv[4]), Path(), [sys.argv[5]],
      timeout=120)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_downloader_that_was_stopped_harms_nothing_when_it_goes_on(
    tmp_path: Path, system: str
) -> None:
    half, go = threading.Event(), threading.Event()

    def halting(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + content[:100_000])
        half.set()
        go.wait(120)
        handler.wfile.write(bytes(len(content) - 100_000))  # not what is there

    with m.mirror(FILES, halting, m.status(404)) as one, m.mirror(FILES, m.ranged) as two:
        command = [sys.executable, "-c", STOPPED, system, FILE.name, str(FILE.size), FILE.digest]
        process = subprocess.Popen([*command, one.url], cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            assert half.wait(120)
            until = time.monotonic() + 120
            while not any(p.stat().st_size for p in tmp_path.glob(".data.gz.*.part")):
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGSTOP)
            for part in tmp_path.glob(".data.gz.*.part"):
                os.utime(part, (time.time() - 500,) * 2)
            fetch(FILE, tmp_path, [two.url])
            installed = (tmp_path / FILE.name).stat()
            process.send_signal(signal.SIGCONT)
            go.set()
            process.wait(120)
        finally:
            go.set()
            process.kill()
            process.wait()
    assert (tmp_path / FILE.name).read_bytes() == CONTENT
    assert os.path.samestat(installed, (tmp_path / FILE.name).stat())


def test_a_part_that_vanished_since_others_were_first_is_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swept(part: files.Part, target: Path) -> None:
        target.write_bytes(CONTENT)
        files.discard(part)
        raise FileNotFoundError(2, "No such file")

    monkeypatch.setattr(download, "install", swept)
    with m.mirror(FILES) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_disk_that_syncs_nothing_and_refuses_one_rename_still_gets_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    replace = os.replace
    refused: list[Path] = []

    def unsynced(descriptor: int) -> None:
        raise OSError(number, "cannot")

    def once(source: Path, target: Path) -> None:
        if not refused:
            refused.append(source)
            raise PermissionError(13, "Access is denied")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", unsynced)
    monkeypatch.setattr(os, "replace", once)
    with m.mirror(FILES) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES
    assert len(server.requests) == 1


def test_a_read_only_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE.name).write_bytes(b"mine")
    (tmp_path / FILE.name).chmod(0o444)
    with m.mirror(FILES) as server, pytest.raises(PermissionError, match="it is read-only; make"):
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == {FILE.name: b"mine"}
    assert server.requests == []


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
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


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


def held_open(part: files.Part, target: Path) -> None:
    raise PermissionError(13, "another process reads the file")


def test_a_file_that_another_process_installed_and_reads_is_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE.name).write_bytes(CONTENT)
    monkeypatch.setattr(download, "install", held_open)
    with m.mirror(FILES) as server:
        fetch(FILE, tmp_path, [server.url])
    assert m.contents(tmp_path) == FILES


@pytest.mark.parametrize("there", [None, b"cut"])
def test_a_file_that_cannot_be_installed_is_kept_for_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes | None
) -> None:
    if there is not None:
        (tmp_path / FILE.name).write_bytes(there)
    monkeypatch.setattr(download, "install", held_open)
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
    handlers = exchange._opener(socket.create_connection).__dict__["handlers"]
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
