"""A system without POSIX, from before the first import on: fnnet trains, saves and loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, signal, sys

for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "fchmod", "fchown", "geteuid", "getuid",
             "mkfifo", "statvfs", "sched_getaffinity", "fork"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGSTOP", "SIGCONT", "SIGKILL", "SIGALRM", "SIGHUP", "SIGPIPE", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
opened = os.open

def no_folders(path, *rest, **more):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return opened(path, *rest, **more)

os.open = no_folders

import importlib, pkgutil
import fnnet

for module in pkgutil.walk_packages(fnnet.__path__, "fnnet."):
    if module.name.split(".")[1] not in ("plots", "pictures"):  # these need other packages
        importlib.import_module(module.name)
data = fnnet.load_digits()
state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 8, 10)))
(record,) = fnnet.train(state, data.train, rng=0, epochs=1)
for _ in range(2):
    fnnet.save_checkpoint("c.npz", fnnet.Checkpoint(record.state, record.rng, 1))
loaded = fnnet.load_checkpoint("c.npz").state.params
print(fnnet.tree_equal(loaded, record.state.params), sorted(os.listdir()))
"""


def test_imports_training_and_saves_work_where_posix_never_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True ['c.npz']\n"
