"""A cut of new nodes by the stored out-of-sample map of its base cut: what both share, and its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import DataError, UsageError
from alignedcut_cli.nodes.slots import joined, node_tables, tokens_of
from alignedcut_cli.nodes.spaces import Space, aligned_space
from alignedcut_cli.store.header import Header, Input
from alignedcut_cli.store.project import Project

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.core.graph.landmarks import Extension

__all__ = [
    "extension_of",
    "has_features",
    "onto_axes",
    "onto_tensors",
    "other_slots",
    "require_extensible",
    "require_stored",
    "space_of",
]

About = Sequence[Sequence[Mapping[str, Any]]]
"""The description of each slot, graph by graph."""


def require_extensible(base: Header) -> None:
    """Raise UsageError for a cut of features without an out-of-sample map."""
    if "landmarks.000" not in base.raw["tensors"]:
        raise UsageError(
            "not-extensible",
            f"cut/{base.name} was made by the solver {base.params['solver']} and keeps no map for new nodes",
            "Make the base cut with --solver lowrank",
        )


def has_features(cut: Header) -> bool:
    """Whether the features of a cut's nodes were stored: extract --onto keeps none."""
    return "sources" not in cut.params


def require_stored(cut: Header) -> None:
    """Raise DataError for a cut whose features were never stored."""
    if not has_features(cut):
        raise DataError(
            "features-not-kept",
            f"cut/{cut.name} was made by extract --onto, which keeps no features",
            "Extract its images, and embed the features with alignedcut cut --onto",
        )


def other_slots(base: Header, what: str) -> DataError:
    """The error for features that do not match the base cut."""
    return DataError("other-slots", f"{what}: cut/{base.name} cannot place its nodes", "Extract as its features were")


def space_of(project: Project, base: Header) -> tuple[Space, list[tuple[Input, Header]]]:
    """The space of the base cut, and its align artifact as an input (none in raw space). Raises DataError if it changed."""
    if base.params["space"] == "raw":
        return Space("raw"), []
    before = next(given for given in base.inputs if given.kind == "align")
    roi = ",".join(base.params["roi"]) if base.params.get("roi") else None
    space = aligned_space(project, base.params["space"], before.name, roi)
    assert space.alignment is not None
    if space.alignment.given.content != before.content:
        raise DataError(
            "other-alignment",
            f"align/{before.name} is another than the one that cut/{base.name} was made with",
            "Cut again, or restore that alignment",
        )
    return space, [(space.alignment.given, space.alignment.header)]


def extension_of(base: Mapping[str, np.ndarray], number: int, gamma: float, device: torch.device) -> Extension:
    """The out-of-sample map that the base cut stores for one graph."""
    import numpy as np
    import torch

    from alignedcut_cli.core.graph.affinity import unit_rows
    from alignedcut_cli.core.graph.landmarks import Extension

    stored = (np.array(base[f"{name}.{number:03d}"]) for name in ("landmarks", "maps"))
    landmarks, maps = (torch.from_numpy(one).to(device) for one in stored)
    return Extension(unit_rows(landmarks), maps, gamma)


def onto_tensors(
    base: Mapping[str, np.ndarray],
    groups: About,
    images: int,
    rows: Sequence[np.ndarray],
    nodes: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    """The tensors of a cut of new nodes, whose `rows` (n, C) come graph by graph, and their meanings.

    `nodes` is their table (M, 4) where it is not to be made in memory.
    """
    import numpy as np

    tensors = {
        "eigenvectors": joined(rows),
        "eigenvalues": base["eigenvalues"],
        "residuals": base["residuals"],
        "nodes": node_tables([one for group in groups for one in group], images) if nodes is None else nodes,
        "sampled": np.zeros(0, np.int64),
        "graphs": _graphs(groups, images),
    }
    meanings = {
        "eigenvectors": ("M C", "rows that the base cut gives these nodes, on the scale of its eigenvectors"),
        "eigenvalues": ("G C", "those of the base cut"),
        "residuals": ("G C", "those of the base cut"),
        "nodes": ("M T", "image, slot, row, col of each node; row = col = -1 for the class token"),
        "sampled": ("m", "none: nothing was solved"),
        "graphs": ("G R", "the nodes of each graph: start, stop"),
    }
    return tensors, meanings


def _graphs(groups: About, images: int) -> np.ndarray:
    """The nodes of each graph: (G, 2) int64."""
    import numpy as np

    sizes = [images * sum(tokens_of(about) for about in group) for group in groups]
    ends = np.cumsum([0, *sizes])
    return np.stack([ends[:-1], ends[1:]], 1).astype(np.int64)


def onto_axes(base: Header, groups: About, images: Sequence[Any], nodes: int) -> dict[str, Any]:
    """The axes of a cut of new nodes."""
    slots = [about for group in groups for about in group]
    return {letter: base.axes[letter] for letter in ("C", "G", "T", "R")} | {
        "M": {"size": nodes},
        "m": {"size": 0},
        "B": {"size": len(images), "images": list(images)},
        "S": {"size": len(slots), "slots": slots},
    }
