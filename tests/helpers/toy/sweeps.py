"""Two sweeps: a pilot of one task, and rows that read it. Files in the project make a task fail, die or dawdle."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from alignedcut_cli.errors import DataError, DiskError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweep import Sweep
from alignedcut_cli.store.canonical import file_digest
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.parts import Parts
from tests.helpers.toy.asked import Asked

__all__ = ["open_sweeps", "parts_of", "recipe_of"]

PILOT = "pilot"


def recipe_of(frame: Frame, asked: Asked) -> Recipe:
    weights = Path("weights")  # in the client's working directory
    external = {"weights": file_digest(weights)} if weights.is_file() else {}
    return Recipe("cut", "toy", 1, {"count": asked.count, "width": asked.width}, (), external)


def parts_of(frame: Frame, asked: Asked) -> Parts:
    numerics = {"torch": version("torch"), "device": asked.device}
    if asked.trouble == "numerics":
        numerics["process"] = str(os.getpid())
    return Parts(frame.project, recipe_of(frame, asked), numerics)


def open_sweeps(frame: Frame, asked: Asked) -> list[tuple[Recipe, list[Sweep]]]:
    parts = parts_of(frame, asked)

    def pilot(_: Sequence[int], advance: Callable[[int], None]) -> None:
        if asked.trouble == "who":
            (frame.project.root / "who").write_text(f"{os.getpid()} {torch.get_num_threads()}")
        parts.write(PILOT, 0, 1, {"scale": np.full(asked.width, 2, np.float32)})
        advance(1)

    def rows(numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        for number in numbers:
            time.sleep(asked.seconds)
            go_wrong(frame, asked.trouble, number)
            scale = parts.read(PILOT, 0, 1)["scale"]
            draws = np.random.default_rng(number).standard_normal(asked.width, np.float32)
            parts.write("rows", number, asked.count, {"rows": draws * scale})
            advance(10)

    return [
        (
            recipe_of(frame, asked),
            [
                Sweep(PILOT, "looking", "nodes", [1], lambda: parts.missing(PILOT, 1), pilot, asked.by_threads),
                Sweep("rows", "cutting", "nodes", [10] * asked.count, lambda: parts.missing("rows", asked.count), rows),
            ],
        )
    ]


def go_wrong(frame: Frame, trouble: str, number: int) -> None:
    """What is to happen in the task of a number, once or, for `always`, each time."""
    what, _, when = trouble.partition(":")
    if not when or number != int(when):
        return
    first = frame.project.root / f"{what}-happened"
    again = first.exists()
    first.touch()
    if what == "note":
        frame.output.note("out of memory: going on with tiles of 7")
    elif what == "data":
        raise DataError("bad-toy", f"task {number} is bad", "Give another", number=number)
    elif what == "value":
        raise ValueError(f"task {number} is no number")
    elif what == "full":
        raise DiskError("disk-full", "no space is left", "Free some")
    elif what == "always-kill" or (what == "kill" and not again):
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "disk" and not again:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "somewhere")
    elif what == "slow" and not again:
        while not (frame.project.root / "over").exists():
            time.sleep(0.05)
