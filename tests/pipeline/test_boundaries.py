"""Where commands write, and that they speak to nobody: seen by an audit hook in their process, and on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WATCHED = """
import json, os, sys

written, spoken, started = set(), set(), set()
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
           "tempfile.mkstemp", "tempfile.mkdtemp", "shutil.rmtree", "shutil.copyfile", "shutil.move", "sqlite3.connect"}
SPEAKS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.bind",
          "socket.sendto", "socket.sendmsg", "urllib.Request", "http.client.connect"}

def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        mode, flags = args[1] or "", args[2] or 0
        if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            written.add(os.path.abspath(os.fsdecode(args[0])))
    elif event in CHANGES:
        written.update(os.path.abspath(os.fsdecode(path)) for path in args if isinstance(path, (str, bytes)))
    elif event in SPEAKS:
        spoken.add(f"{event} {args}")
    elif event == "subprocess.Popen":
        started.add(os.path.basename(os.fsdecode(args[0])))

sys.addaudithook(watch)
from mnist_trainer.cli.options import run_app
from mnist_trainer.data.paths import user_cache

ends = []
for name, arguments in (
    ("train", ["--config", "config.yaml", "--run-dir", "runs/one"]),
    ("eval", ["runs/one"]),
    ("predict", ["one.png", "--checkpoint", "runs/one"]),
):
    sys.argv = ["mnist", *arguments]
    try:
        run_app(name)
    except SystemExit as end:
        ends.append(end.code)
written.discard(os.devnull)
print(json.dumps([ends, sorted(written), sorted(spoken), sorted(started), str(user_cache())]))
"""

CONFIG = """\
name: small
threads: 1
data: {name: digits, validation: 100}
model: {architecture: mlp, hidden: [8]}
training: {epochs: 1}
report: {plots: true}
"""

PROGRAMS = {"git", "uname", "ldconfig", "fc-list", "gcc", "cc", "ld", "objdump"}
"""That this package, Python, torch and matplotlib ask about where they are."""


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_nothing_is_written_elsewhere_and_nobody_is_spoken_to(tmp_path: Path) -> None:
    work, home, temporary = (tmp_path / name for name in ("work", "home", "tmp"))
    for folder in (work, home, temporary):
        folder.mkdir()
    (work / "config.yaml").write_text(CONFIG)
    page = np.full((60, 60), 255, np.uint8)
    page[10:50, 28:34] = 0
    Image.fromarray(page).save(work / "one.png")
    before = files_below(work)
    own = ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MNIST_TRAINER_DATA")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    places = dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA"), str(home))
    places |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(temporary))
    packages = os.pathsep.join(filter(None, sys.path))
    environment |= {**places, "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ends, written, spoken, started, named = json.loads(done.stdout.splitlines()[-1])
    assert ends == [0, 0, 0], done.stdout + done.stderr
    assert spoken == []
    run, cache = work / "runs", Path(named)
    assert cache.is_relative_to(home)

    def elsewhere(paths: Iterable[Path]) -> set[Path]:
        return {path for path in paths if not path.is_relative_to(run) and not path.is_relative_to(cache)}

    touched = set(map(Path, written))
    assert {run / "one" / "run.json", run / "one" / "plots" / "curves.png"} <= touched
    assert elsewhere(touched) <= set(cache.parents)  # which are made for it
    # Not everything that writes is Python.
    assert elsewhere(files_below(tmp_path) - before) == set()
    assert list(temporary.iterdir()) == []
    assert set(started) <= PROGRAMS | {Path(sys.executable).name}  # a Python that draws the pictures
