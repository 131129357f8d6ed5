"""Command lines as separate processes that can be killed, without the seconds of imports.

One helper process imports all that commands import, and forks for each command line: a real process, with real signals.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_SERVER = """
import glob, importlib, json, os, pkgutil, sys, time
import timm, numba
from alignedcut_cli import commands
for found in pkgutil.walk_packages(commands.__path__, "alignedcut_cli.commands."):
    importlib.import_module(found.name)
from alignedcut_cli.main import main
from alignedcut_cli.store import features
features.SHARD_BYTES = int(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        handle = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        status = main(job["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    ended = None
    while job["signal"] and ended is None:
        due = time.monotonic() - started >= job["after"]
        if due and (not job["when"] or glob.glob(job["when"], include_hidden=True)):
            os.kill(child, job["signal"])
            break
        found, waited = os.waitpid(child, os.WNOHANG)
        ended = waited if found else None
        time.sleep(0.002)
    if ended is None:
        ended = os.waitpid(child, 0)[1]
    seconds = time.monotonic() - started
    print(json.dumps({"status": os.waitstatus_to_exitcode(ended), "seconds": seconds}), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (-9 for SIGKILL), its seconds, and its output."""

    status: int
    seconds: float
    said: str


class Forks:
    """The helper process, in which shards of features have about `shard_bytes`; a context manager."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder, self._shard_bytes = folder, shard_bytes
        self._log = folder / "log.txt"

    def __enter__(self) -> Forks:
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(self._shard_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env=_environment(),
        )
        assert self._line() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def run(
        self, *argv: object, kill: signal.Signals | None = None, after: float = 0.0, when: Path | None = None
    ) -> Ended:
        """Run a command line; signal `kill` is sent once `after` seconds have passed and a path matching `when` exists."""
        job: dict[str, Any] = {
            "argv": [str(word) for word in argv],
            "signal": int(kill or 0),
            "after": after,
            "when": str(when or ""),
            "log": str(self._log),
        }
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        found = json.loads(self._line())
        return Ended(found["status"], found["seconds"], self._log.read_text(encoding="utf-8"))

    def _line(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()


def fresh_python(code: str, *argv: object) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python process, in which nothing has been imported."""
    words = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.run(words, env=_environment(), capture_output=True, text=True, check=False)


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
