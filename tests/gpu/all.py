"""All parts of the tests on a GPU, each a process with a limit, and their table: `python -m tests.gpu.all FOLDER`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"tsne": 90, "memory": 60, "exact": 150, "extract": 90, "cut": 120, "align": 180}
"""Seconds that each may take, one after the other; all end at ALIGNEDCUT_GPU_LIMIT."""
BESIDE = "chain"
"""The part that runs beside all others: it compares small results, and holds no time against a target."""
BESIDE_THREADS = "4"
NEED_DATA = ("cut", "align")
LIMIT = float(os.environ.get("ALIGNEDCUT_GPU_LIMIT", "470"))
COLUMNS = ("part", "what", "found", "target", "verdict")
Row = dict[str, str]


def started(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A process of its own group, with all it says in a file."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *argv], cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


def ended(process: subprocess.Popen[bytes], seconds: float) -> str:
    """How a process ended, killed with all it started when its time is over: empty for well."""
    try:
        status = process.wait(max(0.1, seconds))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"stopped after {max(0, seconds):.0f} s"
    return "" if status == 0 else f"exit {status}"


@dataclass(frozen=True)
class Part:
    """A part that runs: its process, when it began, and where its rows go."""

    name: str
    process: subprocess.Popen[bytes]
    began: float
    rows: Path

    def ended(self, seconds: float) -> list[Row]:
        """The rows of the part, the last of them on how it ended, which it must within `seconds`."""
        how = ended(self.process, seconds)
        told = [json.loads(line) for line in self.rows.read_text().splitlines()] if self.rows.exists() else []
        if not told and not how:
            how = "no figure came: skipped"
        found = f"{time.monotonic() - self.began:.0f} s" + (f", {how}" if how else "")
        return [*told, row_of(self.name, found, "FAILED" if how else "ok")]


def begun(name: str, folder: Path, env: Mapping[str, str]) -> Part:
    """A part, begun."""
    rows = folder / f"{name}.jsonl"
    rows.unlink(missing_ok=True)
    options = ["-m", "gpu", "-s", "-q", "-W", "default", "-p", "no:cacheprovider"]
    argv = ["-m", "pytest", *options, f"tests/gpu/test_{name}.py"]
    log = folder / f"{name}.log"
    return Part(name, started(argv, log, {**env, "ALIGNEDCUT_GPU_TABLE": str(rows)}), time.monotonic(), rows)


def row_of(part: str, found: str, verdict: str) -> Row:
    """A row about a whole part."""
    return dict(zip(COLUMNS, (part, "the whole part", found, "-", verdict), strict=True))


def text_of(rows: Sequence[Row]) -> str:
    """The table as text, under what it was made with."""
    device = os.environ.get("ALIGNEDCUT_GPU_DEVICE", "cuda")
    card = torch.cuda.get_device_name(device) if torch.cuda.is_available() and device != "cpu" else device
    scale = os.environ.get("ALIGNEDCUT_GPU_SCALE", "1")
    head = f"{card}, torch {torch.__version__}, CUDA {torch.version.cuda}, {os.cpu_count()} cores, scale {scale}"
    lines = [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]
    widths = [max(len(row[column]) for row in lines) for column in COLUMNS]
    body = ["  ".join(row[c].ljust(w) for c, w in zip(COLUMNS, widths, strict=True)).rstrip() for row in lines]
    return "\n".join([head, "", *body, ""])


def main(folder: Path) -> int:
    began = time.monotonic()
    data = Path(tempfile.mkdtemp(prefix="alignedcut-gpu-"))
    env = {**os.environ, "ALIGNEDCUT_GPU_DATA": str(data)}
    maker = started(["-m", "tests.gpu.data", str(data)], folder / "data.log", env)
    rows: list[Row] = []

    def left() -> float:
        return LIMIT - (time.monotonic() - began)

    beside = begun(BESIDE, folder, {**env, "OMP_NUM_THREADS": BESIDE_THREADS})
    try:
        for name, most in PARTS.items():
            waited = ended(maker, left()) if name in NEED_DATA else ""
            if waited or left() < 1:
                how = f"its inputs: {waited}" if waited else "the time was over"
                rows.append(row_of(name, f"not run, {how}", "FAILED"))
            else:
                rows += begun(name, folder, env).ended(min(most, left()))
            print(rows[-1]["part"], rows[-1]["found"], rows[-1]["verdict"], file=sys.stderr, flush=True)
        rows += beside.ended(left())
    finally:
        for process in (maker, beside.process):
            ended(process, 0)
        shutil.rmtree(data, ignore_errors=True)
        table = text_of(rows)
        (folder / "table.txt").write_text(table, encoding="utf-8")
        print(table)
    return int(any(row["verdict"] in ("FAILED", "MISSED") for row in rows))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
