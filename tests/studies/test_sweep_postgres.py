"""Two processes on one study in a real PostgreSQL, which the test starts as a user without rights."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.studies.conftest import LONG

pytest.importorskip("optuna", reason="needs the extra [sweep]")
psycopg = pytest.importorskip("psycopg", reason="needs the extra [sweep]")
REPOSITORY = Path(__file__).parents[2]

PASSWORD = "not-to-be-seen"


def programs() -> Path:
    """The folder with PostgreSQL's programs; the test is skipped where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("needs PostgreSQL's initdb and postgres, as in: apt-get install postgresql")
    return found[-1].parent if found else Path(str(on_path)).parent


def somebody() -> dict[str, Any]:
    """Who the server runs as: it refuses to run as root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return {}
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    name = next(name for name in ("postgres", "nobody") if name in known)
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a database on a server that ends with the test. Its folder must be open to `somebody`."""
    where, who = programs(), somebody()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    (folder / "password").write_text(PASSWORD)
    if who:
        for path in (folder, folder / "password"):
            shutil.chown(path, who["user"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data = folder / "data"
    setup = [where / "initdb", "-D", data, "-U", "me", "-A", "scram-sha-256", "--pwfile", folder / "password"]
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    try:
        done = subprocess.run(
            [*setup, "--no-sync", "--locale=C", "-E", "UTF8"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **who,
        )
        assert done.returncode == 0, done.stderr
        command = [where / "postgres", "-D", data, "-p", str(port), "-k", folder, *options]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **who)
        try:
            url = f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/postgres"
            wait_for(url, process, folder / "log")
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # the clients need not be waited for
            process.wait(timeout=600)
    finally:
        shutil.rmtree(folder)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 600
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        else:
            return


@pytest.mark.postgres
def test_two_jobs_work_on_one_study(server: str, tmp_path: Path) -> None:
    """Two commands, as the batch script of `--slurm` starts them in an array of jobs; `srun` is a stand-in."""
    (tmp_path / "shared.yaml").write_text(f"{LONG}trials: 6\n")
    sweep = [sys.executable, "-m", "mnist_trainer", "sweep"]
    for name, line in {"srun": 'exec "$@"', "mnist-sweep": f'exec {shlex.join(sweep)} "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    paths = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    environment = {**os.environ, **paths, "STORAGE": server, "SLURM_ARRAY_JOB_ID": "5"}
    command = [*sweep, "shared.yaml", "--jobs", "2", "--slurm"]
    script = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    children = [
        subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**environment, "SLURM_ARRAY_TASK_ID": task},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in ("0", "1")
    ]
    said = [child.communicate(timeout=600) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert [error for _, error in said] == ["", ""]

    made = [{int(line.split()[0]) for line in out.splitlines() if line[:5].strip().isdigit()} for out, _ in said]
    assert made[0] | made[1] == set(range(6))
    assert made[0] & made[1] == set()
    assert all(made), "each of them has made some"

    tables = [path.read_text() for path in sorted(tmp_path.glob("runs/shared-sweep-5/worker-[01]-0/trials.csv"))]
    assert len(tables) == 2
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert [(row["trial"], row["status"]) for row in rows] == [(str(index), "finished") for index in range(6)]
    assert len({row["optimizer.lr"] for row in rows}) == 6
    with psycopg.connect(server) as connection:
        counts = connection.execute("select state, count(*) from trials group by state").fetchall()
    assert dict(counts)["COMPLETE"] == 6
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in content for content in written)
    assert all(PASSWORD not in text for pair in said for text in pair)
