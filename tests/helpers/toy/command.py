"""The toy command, as the product's commands are written."""

from __future__ import annotations

import numpy as np

from alignedcut_cli.frame import options
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import make_shard, run_sweeps
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header
from tests.helpers.toy.asked import Asked
from tests.helpers.toy.sweeps import open_sweeps, parts_of

__all__ = ["NAME", "command", "make"]

NAME = "toy"


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Write rows that anyone could write."""
    (recipe, sweeps), *_ = open_sweeps(frame, asked)
    parts = parts_of(frame, asked)
    if asked.shard:
        frame.output.result(*make_shard(frame, recipe, asked.shard, lambda: (parts.open(), sweeps)[1]))
        return
    header, made = frame.make_once(recipe, asked.overwrite, lambda: make(frame, asked))
    frame.output.result(str(frame.project.path("cut", header.name)), frame.artifact_object(header, made=made))


def make(frame: Frame, asked: Asked) -> Header:
    """The artifact, its parts in the order of their numbers."""
    (recipe, sweeps), *_ = open_sweeps(frame, asked)
    parts = parts_of(frame, asked)
    parts.open()
    run_sweeps(frame, asked, sweeps)
    rows = np.stack([parts.read("rows", number, asked.count)["rows"] for number in range(asked.count)])
    header = write_artifact(
        frame.project.path("cut", "toy"),
        recipe,
        {"rows": rows},
        {"rows": ("M C", "rows")},
        axes={"M": {"size": asked.count}, "C": {"size": asked.width}},
        numerics={"device": "cpu"},
    )
    parts.drop()
    return header
