"""The tensors of a trace: the map, the paths, the concepts, and the transitions between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.core.embed.colours import spectral_tsne
from alignedcut_cli.core.groups.bifurcation import bifurcation, total_variation
from alignedcut_cli.core.groups.centres import ball_members, clear_radius, farthest_centres
from alignedcut_cli.core.groups.transitions import (
    mean_by_image,
    probabilities,
    step_lengths,
    transition_counts,
)
from alignedcut_cli.core.numerics import NumericsError, stream
from alignedcut_cli.core.resample.nulls import holm
from alignedcut_cli.errors import DataError

if TYPE_CHECKING:
    from alignedcut_cli.commands.trace.plan import Plan, Track

__all__ = ["MEANINGS", "axes_of", "trace_tensors"]

MEANINGS = {
    "coordinates": ("M d", "place of each node in the one spectral t-SNE of the cut"),
    "sampled": ("m", "the nodes that t-SNE placed; the others took the place of their nearest one"),
    "divergence": ("G", "Kullback-Leibler divergence of the t-SNE"),
    "perplexity": ("G", "perplexity used"),
    "nodes": ("M T", "image, slot, row, col of each node; row = col = -1 for the class token"),
    "labels": ("M", "1 foreground, 0 background, -1 void, class token or not traced"),
    "pixels": ("Q V", "image, row, col of each example pixel, in cells of the first model's grid"),
    "paths": ("Q L", "the node that is each pixel in each traced slot"),
    "centres": ("L A", "the node at the centre of each concept of each traced slot"),
    "radii": ("L", "radius of the balls of each traced slot, in units of the space that `measure` names"),
    "concepts": ("M", "the concept of each node in its slot; -1 in none, class token or not traced"),
    "pairs": ("K U", "slots between which nodes pass: successive traced layers of one model"),
    "counts": ("K H J J", "nodes of each group in concept i of the first slot and j of the second; the last is none"),
    "transitions": ("K H A J", "counts as shares of their row: P(j | i); zeros where no node is in i"),
    "steps": ("K H", "mean distance that a node of each group moves, in units of `measure`"),
    "steps.error": ("K H", "standard error of that mean, images being independent"),
    "steps.nodes": ("K H", "nodes behind that mean"),
    "variation": ("K", "mean total variation of foreground and background rows, weighted by f b / (f + b)"),
    "variation.rows": ("K A", "total variation of foreground and background rows; 0 where one is empty"),
    "matched": ("K", "mean total variation of foreground and background of one image, concept and place"),
    "matched.rows": ("K A", "that of each concept"),
    "matched.expected": ("K", "what chance gives of `matched`"),
    "matched.images": ("K", "images that have foreground and background in one concept"),
    "p": ("K", "share of permutations of label maps between images that part as far"),
    "p.holm": ("K", "p adjusted by Holm's rule for all pairs"),
}


def trace_tensors(plan: Plan, cut: Mapping[str, np.ndarray], tick: Callable[[int], None]) -> dict[str, np.ndarray]:
    """Every tensor of MEANINGS (those of foreground and background only with masks); `tick` counts t-SNE's iterations."""
    params = plan.recipe.params
    rows = cut["eigenvectors"][:, : params["eigenvectors"]]
    try:
        embedding = spectral_tsne(
            rows,
            params["dims"],
            nodes=params["nodes"],
            perplexity=params["perplexity"],
            seed=stream(params["seed"], "color", 0) % (1 << 32),
            tick=tick,
        )
    except NumericsError as error:
        raise DataError("too-few-nodes", str(error), "Cut more images") from None
    places = embedding.coordinates if params["measure"] == "map" else rows * np.float32(np.sqrt(len(rows)))
    ids = {slot: _patches(cut["nodes"], slot, track) for track in plan.tracks for slot in track.slots}
    found = {
        "coordinates": embedding.coordinates,
        "sampled": embedding.sampled,
        "divergence": np.array([embedding.divergence], np.float32),
        "perplexity": np.array([embedding.perplexity], np.float32),
        "nodes": cut["nodes"],
        "pixels": np.array(plan.pixels, np.int32).reshape(-1, 3),
        "paths": _paths(plan, ids),
        "pairs": np.array(plan.pairs, np.int32),
    }
    found |= _concepts(plan, places, ids)
    labels = _labels(plan, ids, len(rows)) if plan.labels is not None else None
    if labels is not None:
        found["labels"] = labels
    found |= _transitions(plan, found["concepts"], labels, ids)
    return found | _steps(plan, places, labels, ids)


def axes_of(plan: Plan, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The axes of a trace's header."""
    axes = {letter: plan.parent.axes[letter] for letter in ("M", "G", "T", "B", "S")}
    concepts = plan.recipe.params["concepts"]
    models = {slot: track.model for track in plan.tracks for slot in track.slots}
    slots = plan.parent.axes["S"]["slots"]
    pairs = [{"model": models[a], "from": slots[a]["layer"], "to": slots[b]["layer"]} for a, b in plan.pairs]
    return axes | {
        "d": {"size": plan.recipe.params["dims"]},
        "m": {"size": len(tensors["sampled"])},
        "L": {
            "size": len(plan.slots),
            "slots": [{"slot": slot, "model": models[slot], "layer": slots[slot]["layer"]} for slot in plan.slots],
        },
        "A": {"size": concepts},
        "J": {"size": concepts + 1, "labels": [*map(str, range(concepts)), "none"]},
        "K": {"size": len(pairs), "pairs": pairs},
        "H": {"size": len(plan.groups), "labels": list(plan.groups)},
        "Q": {"size": len(plan.pixels)},
        "U": {"size": 2, "labels": ["from", "to"]},
        "V": {"size": 3, "labels": ["image", "row", "col"]},
    }


def _patches(nodes: np.ndarray, slot: int, track: Track) -> np.ndarray:
    """The node of each patch of a slot: (B, rows, cols) int64."""
    mine = np.flatnonzero((nodes[:, 1] == slot) & (nodes[:, 2] >= 0))
    images = int(nodes[:, 0].max()) + 1
    ids = np.empty((images, *track.grid), np.int64)
    ids[tuple(nodes[mine][:, [0, 2, 3]].T)] = mine
    return ids


def _paths(plan: Plan, ids: Mapping[int, np.ndarray]) -> np.ndarray:
    columns = [
        [ids[slot][pixel] for pixel in plan.pixels_in(track.grid)] for track in plan.tracks for slot in track.slots
    ]
    return np.array(columns, np.int64).reshape(len(plan.slots), -1).T


def _labels(plan: Plan, ids: Mapping[int, np.ndarray], total: int) -> np.ndarray:
    assert plan.labels is not None
    labels = np.full(total, -1, np.int8)
    for track in plan.tracks:
        for slot in track.slots:
            labels[ids[slot]] = plan.labels[track.grid]
    return labels


def _concepts(plan: Plan, places: np.ndarray, ids: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Centres, radii and members, each slot separately."""
    params = plan.recipe.params
    concepts = np.full(len(places), -1, np.int32)
    centres, radii = [], []
    for slot in plan.slots:
        mine = ids[slot].reshape(-1)
        about = plan.parent.axes["S"]["slots"][slot]
        seed = stream(params["seed"], "trace", "centres", about["model"], about["tap"], about["layer"])
        chosen = mine[farthest_centres(places[mine], params["concepts"], seed)]
        if len(chosen) < params["concepts"]:
            raise DataError(
                "too-few-places",
                f"layer {about['layer']} of {about['model']} has {len(chosen)} different places in the map, --concepts is "
                f"{params['concepts']}",
                "Ask for fewer --concepts, or more --nodes",
            )
        radius = clear_radius(places[chosen]) if params["radius"] == "auto" else params["radius"]
        concepts[mine] = ball_members(places[mine], places[chosen], radius)
        centres.append(chosen)
        radii.append(radius)
    return {"concepts": concepts, "centres": np.stack(centres), "radii": np.array(radii, np.float64)}


def _chosen(group: str, labels: np.ndarray | None, nodes: np.ndarray) -> np.ndarray:
    """Which of `nodes` belong to a group: bool, of the shape of `nodes`."""
    return np.ones(nodes.shape, bool) if labels is None or group == "all" else labels[nodes] == (group == "foreground")


def _transitions(
    plan: Plan, concepts: np.ndarray, labels: np.ndarray | None, ids: Mapping[int, np.ndarray]
) -> dict[str, np.ndarray]:
    """Counts and probabilities of every pair of slots and group; with labels, how far foreground and background diverge."""
    size = plan.recipe.params["concepts"]
    counts, parted = [], []
    for a, b in plan.pairs:
        before, after = (ids[slot].reshape(len(ids[slot]), -1) for slot in (a, b))  # (B, P)
        chosen = [_chosen(group, labels, before) for group in plan.groups]
        counts.append([transition_counts(concepts[before[one]], concepts[after[one]], size) for one in chosen])
        if labels is not None:
            about = plan.parent.axes["S"]["slots"][a]
            seed = stream(
                plan.recipe.params["seed"], "trace", "permutations", about["model"], about["tap"], about["layer"]
            )
            permutations = plan.recipe.params["permutations"]
            found = bifurcation(
                concepts[before], concepts[after], labels[before], size, permutations=permutations, seed=seed
            )
            parted.append(found)
    total = np.stack(counts)  # (K, H, k + 1, k + 1)
    shares = probabilities(total)
    found = {"counts": total, "transitions": shares.astype(np.float32)}
    if labels is None:
        return found
    rows = total_variation(shares[:, 1], shares[:, 2])  # (K, k)
    p = np.array([one.p for one in parted])
    return found | {
        "variation": _weighted(rows, total[:, 1, :-1].sum(-1), total[:, 2, :-1].sum(-1)),
        "variation.rows": rows,
        "matched": np.array([one.distance for one in parted]),
        "matched.rows": np.stack([one.rows for one in parted]),
        "matched.expected": np.array([one.expected for one in parted]),
        "matched.images": np.array([one.images for one in parted], np.int64),
        "p": p,
        "p.holm": holm(p),
    }


def _weighted(rows: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mean of each row of (K, k), weighted by f b / (f + b); 0 where no concept has both groups."""
    weights = one * other / np.maximum(one + other, 1)
    return (rows * weights).sum(1) / np.maximum(weights.sum(1), np.finfo(np.float64).tiny)


def _steps(
    plan: Plan, places: np.ndarray, labels: np.ndarray | None, ids: Mapping[int, np.ndarray]
) -> dict[str, np.ndarray]:
    """The distance that the nodes of each group move between two slots."""
    found = np.zeros((len(plan.pairs), len(plan.groups), 2))
    nodes = np.zeros(found.shape[:2], np.int64)
    for number, (a, b) in enumerate(plan.pairs):
        before, after = (ids[slot].reshape(len(ids[slot]), -1) for slot in (a, b))  # (B, P)
        lengths = step_lengths(places[before], places[after])
        for place, group in enumerate(plan.groups):
            mine = _chosen(group, labels, before)
            found[number, place] = mean_by_image(lengths, mine)
            nodes[number, place] = mine.sum()
    return {"steps": found[..., 0], "steps.error": found[..., 1], "steps.nodes": nodes}
