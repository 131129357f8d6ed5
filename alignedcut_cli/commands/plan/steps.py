"""The steps of a study: bytes, operations, seconds and memory of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.core.graph.certificate import CERTIFICATE_ROWS
from alignedcut_cli.core.graph.lowrank import landmark_count, pilot_nodes, spare_columns
from alignedcut_cli.store.ranges import held_bytes

if TYPE_CHECKING:
    from alignedcut_cli.commands.plan.rates import Rates
    from alignedcut_cli.commands.plan.shapes import Shape

__all__ = ["Limit", "Machines", "Step", "Study", "limits_of", "steps_of"]

NODE_TABLE, COLOUR = 16, 3
"""Bytes of a node's image, slot, row and column, and of its colour."""
NEAREST = 4
"""Bytes of the number of a node's nearest placed one, which `color` keeps until colours are looked up."""
TASK = 64 << 20
"""Bytes of the tiles that a worker is processing."""
DAY = 86_400.0


@dataclass(frozen=True)
class Study:
    """`images` of shapes `models`, joined in one graph of C = `count` eigenvectors in E = `channels` (None: as stored)."""

    images: int
    models: Sequence[Shape]
    channels: int | None
    count: int
    sample: int

    @property
    def nodes(self) -> int:
        """M: all tokens of all images in all slots."""
        return self.images * self.nodes_per_image

    @property
    def nodes_per_image(self) -> int:
        return sum(model.nodes for model in self.models)

    @property
    def bytes_per_image(self) -> int:
        """Bytes of stored features."""
        return sum(model.bytes_per_image for model in self.models)

    @property
    def width(self) -> int:
        """E, or D where nodes are compared as they are stored."""
        return self.channels or max(model.widths[0] for model in self.models)

    @property
    def kept(self) -> int:
        """Bytes per node that lowrank keeps from its pass: C columns in float32, the spare ones in float16."""
        return 4 * self.count + 2 * (spare_columns(self.count) - self.count)

    @property
    def row(self) -> int:
        """Bytes of a node in the artifact of a cut: its row, and image, slot, row and column."""
        return 4 * self.count + NODE_TABLE


@dataclass(frozen=True)
class Machines:
    """`count` workers like this machine, with `memory` bytes each, on a disk shared by all with `free` bytes.

    `read` and `written` are the shared disk's bytes/s.
    """

    count: int
    memory: int
    free: int
    read: float
    written: float


@dataclass(frozen=True)
class Step:
    """One step: passes over its input, bytes from and to disk, operations, bytes held by a worker, seconds.

    `bound` says what limits it: compute, or the disk.
    """

    name: str
    passes: int
    read: float
    written: float
    operations: float
    held: float
    held_a_node: float
    nodes: int
    compute: float
    disk: float

    @property
    def memory(self) -> float:
        """Bytes in a worker's memory: a constant, and an amount per node."""
        return self.held + self.nodes * self.held_a_node

    @property
    def seconds(self) -> float:
        return max(self.compute, self.disk)

    @property
    def bound(self) -> str:
        return "disk" if self.disk > self.compute else "compute"

    def as_object(self) -> dict[str, Any]:
        return {
            "step": self.name,
            "passes": self.passes,
            "read": int(self.read),
            "written": int(self.written),
            "operations": float(f"{self.operations:.4g}"),
            "memory": int(self.memory),
            "seconds": float(f"{self.seconds:.4g}"),
            "bound": self.bound,
        }


def steps_of(study: Study, rates: Rates, images: Sequence[float], machines: Machines) -> list[Step]:
    """The steps of a study on some machines: `images` are the images/s of each model on one of them.

    A step's seconds are those of its arithmetic, divided among the machines, or of the bytes through the shared disk,
    whichever is longer; what is done once (the pilot, t-SNE) is not divided.
    """
    return [
        *(_extraction(study, model, rate, machines) for model, rate in zip(study.models, images, strict=True)),
        _cut(study, rates, machines),
        _colours(study, rates, machines),
        _from_images(study, rates, images, machines),
    ]


def _disk(machines: Machines, read: float, written: float) -> float:
    return read / machines.read + written / machines.written


def _extraction(study: Study, model: Shape, rate: float, machines: Machines) -> Step:
    written = study.images * model.bytes_per_image
    return Step(
        f"extract {model.label}",
        1,
        0,
        written,
        study.images * model.operations,
        64 * model.bytes_per_image,
        0,
        study.nodes,
        study.images / rate / machines.count,
        _disk(machines, 0, written),
    )


def _cut(study: Study, rates: Rates, machines: Machines) -> Step:
    """The pass over the features, then two over its results, which on several machines go through the disk."""
    nodes, size = study.nodes, landmark_count(study.nodes)
    pilot, columns = pilot_nodes(nodes, size), spare_columns(study.count)
    width = study.width
    features = study.images * study.bytes_per_image
    moved = sum(
        2 * tokens * own * study.channels
        for model in study.models
        for tokens, own in zip(model.tokens, model.widths, strict=True)
        if study.channels
    )
    per_node = 2 * width * (size + CERTIFICATE_ROWS) + 2 * size * columns + 4 * columns * columns
    work = nodes * per_node + study.images * moved
    work += 2 * pilot * size * (width + size)
    alone = machines.count == 1
    parts = 0 if alone else nodes * study.kept
    read, written = features + 2 * parts, nodes * study.row + parts
    return Step(
        "cut",
        1,
        read,
        written,
        work,
        8 * pilot * size + TASK,
        study.kept if alone else 0,
        nodes,
        rates.pilot + nodes / rates.passed / machines.count,
        _disk(machines, read, written),
    )


def _colours(study: Study, rates: Rates, machines: Machines) -> Step:
    nodes, sample = study.nodes, min(study.sample, study.nodes)
    row = COLOUR + 4 * 3 + NODE_TABLE
    read, written = nodes * 4 * study.count, nodes * row
    alone = machines.count == 1
    return Step(
        "color",
        1,
        read,
        written,
        2.0 * nodes * sample * study.count,
        sample * 4 * (study.count + 3) + TASK + held_bytes(nodes, row),
        NEAREST if alone else 0,
        nodes,
        rates.placed + max(0, nodes - sample) / rates.assigned / machines.count,
        _disk(machines, read, written),
    )


def _from_images(study: Study, rates: Rates, images: Sequence[float], machines: Machines) -> Step:
    """`extract --onto` a cut of fewer images: features are embedded as they are computed, and never stored."""
    nodes, written = study.nodes, study.nodes * study.row
    width, size = study.width, landmark_count(study.nodes)
    forward = sum(model.operations for model in study.models) * study.images
    seconds = sum(study.images / rate for rate in images) + nodes / rates.embedded
    return Step(
        "or extract --onto, of a smaller cut",
        1,
        0,
        written,
        forward + 2.0 * nodes * size * (width + study.count),
        64 * study.nodes_per_image * 4 * width,
        0,
        nodes,
        seconds / machines.count,
        _disk(machines, 0, written),
    )


@dataclass(frozen=True)
class Limit:
    """The largest number of `nodes` that something supports: what fails beyond, why, and what still works."""

    nodes: float
    what: str
    remedy: str


def limits_of(study: Study, steps: Sequence[Step], machines: Machines) -> list[Limit]:
    """What fails first as a study grows on these machines, smallest first."""
    per_node = study.bytes_per_image / study.nodes_per_image
    found = [
        Limit(
            machines.free / (per_node + study.row + study.kept * (machines.count > 1)),
            f"the disk's {machines.free / 2**30:.0f} GiB are full of features ({per_node:.0f} bytes a node)",
            "extract --onto a cut of fewer images, --tokens sample:K, or fewer --layers",
        )
    ]
    for step in steps[len(study.models) :]:
        rate = step.seconds / study.nodes
        if step.held_a_node:
            found.append(
                Limit(
                    max(0.0, machines.memory - step.held) / step.held_a_node,
                    f"{step.name} holds {step.held_a_node:.0f} bytes a node of {machines.memory / 2**30:.0f} GiB of memory",
                    "--cluster or --shard, which hold a range of nodes at a time",
                )
            )
        if step.name == "cut":
            found.append(Limit(DAY / rate, f"{step.name} takes more than a day ({step.bound})", "more --machines"))
    extraction = sum(step.seconds for step in steps[: len(study.models)]) / study.nodes
    found.append(Limit(DAY / extraction, "extract takes more than a day", "more --machines, or a GPU"))
    return sorted((one for one in found if math.isfinite(one.nodes)), key=lambda one: one.nodes)
