"""The tensors of a trace: the map, the paths, the concepts, and the transitions between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alignedcut_cli.commands.trace.maps import Map, balls, partitions
from alignedcut_cli.core.embed.colours import Embedding, spectral_tsne
from alignedcut_cli.core.embed.threads import in_threads
from alignedcut_cli.core.groups.bifurcation import Bifurcation, bifurcation, joint_p, total_variation
from alignedcut_cli.core.groups.transitions import (
    mean_by_image,
    probabilities,
    step_lengths,
    transition_counts,
)
from alignedcut_cli.core.numerics import NumericsError, stream
from alignedcut_cli.core.resample.draws import random_orders
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
    "centres": ("L A", "the node at the centre of each concept of each traced slot, on the first map"),
    "radii": ("L", "measure map: radius of the balls of each traced slot, in units of the map"),
    "concepts": ("M", "the concept of each node in its slot, on the first map; -1 in none, class token or not traced"),
    "pairs": ("K U", "slots between which nodes pass: successive traced layers of one model"),
    "counts": ("K H J J", "nodes of each group in concept i of the first slot and j of the second; the last is none"),
    "transitions": ("K H A J", "counts as shares of their row: P(j | i); zeros where no node is in i"),
    "steps": ("K H", "mean distance that a node of each group moves, in units of `measure`"),
    "steps.error": ("K H", "standard error of that mean, images being independent"),
    "steps.nodes": ("K H", "number of nodes in that mean"),
    "steps.images": ("K H", "images that hold them"),
    "variation": ("K", "mean total variation of foreground and background rows, weighted by f b / (f + b)"),
    "variation.rows": ("K A", "total variation of foreground and background rows; 0 where one is empty"),
    "matched": (
        "K",
        "mean total variation of foreground and background of one image, concept and place; mean over maps",
    ),
    "matched.rows": ("K A", "that of each concept of the first map"),
    "matched.expected": ("K", "expectation of `matched` by chance"),
    "matched.images": ("K", "images that have foreground and background in one concept of the first map"),
    "maps.concepts": ("Z", "number of concepts of each map that the test is over"),
    "maps.matched": ("K Z", "`matched` on each map"),
    "maps.p": ("K Z", "p-value on each map alone"),
    "p": ("K", "share of permutations of label maps between images that diverge as far, over all maps together"),
    "p.holm": ("K", "p adjusted by Holm's rule for all pairs"),
}


def trace_tensors(plan: Plan, cut: Mapping[str, np.ndarray], tick: Callable[[int], None]) -> dict[str, np.ndarray]:
    """Every tensor of MEANINGS (those of foreground and background only with masks); `tick` counts t-SNE's iterations."""
    params = plan.recipe.params
    rows = cut["eigenvectors"][:, : params["eigenvectors"]]
    ids = {slot: _patches(cut["nodes"], slot, track) for track in plan.tracks for slot in track.slots}
    embeddings = _embeddings(plan, rows, tick)
    first = embeddings[0]
    if params["measure"] == "map":
        places = first.coordinates
        maps = [balls(plan, one.coordinates, ids) for one in embeddings]
    else:
        places = rows * np.float32(np.sqrt(len(rows)))
        maps = partitions(plan, places, ids)
    found = {
        "coordinates": first.coordinates,
        "sampled": first.sampled,
        "divergence": np.array([first.divergence], np.float32),
        "perplexity": np.array([first.perplexity], np.float32),
        "nodes": cut["nodes"],
        "pixels": np.array(plan.pixels, np.int32).reshape(-1, 3),
        "paths": _paths(plan, ids),
        "pairs": np.array(plan.pairs, np.int32),
        "concepts": maps[0].concepts,
        "centres": maps[0].centres,
    }
    if maps[0].radii is not None:
        found["radii"] = maps[0].radii
    labels = _labels(plan, ids, len(rows)) if plan.labels is not None else None
    if labels is not None:
        found["labels"] = labels
    found |= _transitions(plan, maps, rows, labels, ids)
    return found | _steps(plan, places, labels, ids)


def _embeddings(plan: Plan, rows: np.ndarray, tick: Callable[[int], None]) -> list[Embedding]:
    """The t-SNE that is drawn, and, where concepts are measured in it, those of other seeds."""
    params = plan.recipe.params
    count = params["maps"] if params["measure"] == "map" else 1
    seeds = [stream(params["seed"], "color", 0), *(stream(params["seed"], "trace", "map", n) for n in range(1, count))]
    try:
        return [
            spectral_tsne(
                rows,
                params["dims"],
                nodes=params["nodes"],
                perplexity=params["perplexity"],
                seed=seed % (1 << 32),
                tick=tick,
            )
            for seed in seeds
        ]
    except NumericsError as error:
        raise DataError("too-few-nodes", str(error), "Cut more images") from None


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
        "Z": {"size": plan.recipe.params["maps"]},
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


def _chosen(group: str, labels: np.ndarray | None, nodes: np.ndarray) -> np.ndarray:
    """Which of `nodes` belong to a group: bool, of the shape of `nodes`."""
    return np.ones(nodes.shape, bool) if labels is None or group == "all" else labels[nodes] == (group == "foreground")


def _transitions(
    plan: Plan, maps: Sequence[Map], eigenvectors: np.ndarray, labels: np.ndarray | None, ids: Mapping[int, np.ndarray]
) -> dict[str, np.ndarray]:
    """Counts and probabilities of every pair of slots and group on the first map, and the test over all maps."""
    concepts, size = maps[0].concepts, maps[0].count
    counts = []
    for a, b in plan.pairs:
        before, after = (ids[slot].reshape(len(ids[slot]), -1) for slot in (a, b))  # (B, P)
        chosen = [_chosen(group, labels, before) for group in plan.groups]
        counts.append([transition_counts(concepts[before[one]], concepts[after[one]], size) for one in chosen])
    total = np.stack(counts)  # (K, H, k + 1, k + 1)
    shares = probabilities(total)
    found = {"counts": total, "transitions": shares.astype(np.float32)}
    if labels is None:
        return found
    rows = total_variation(shares[:, 1], shares[:, 2])  # (K, k)
    return found | {
        "variation": _weighted(rows, total[:, 1, :-1].sum(-1), total[:, 2, :-1].sum(-1)),
        "variation.rows": rows,
        **_tested(plan, maps, eigenvectors, labels, ids),
    }


def _tested(
    plan: Plan, maps: Sequence[Map], eigenvectors: np.ndarray, labels: np.ndarray, ids: Mapping[int, np.ndarray]
) -> dict[str, np.ndarray]:
    """How far foreground and background diverge between two slots, on each map, and one p-value for all maps."""
    params = plan.recipe.params
    images = plan.parent.axes["B"]["size"]
    orders = random_orders(images, params["permutations"], stream(params["seed"], "trace"))  # the same for all pairs

    def compare(pair: tuple[int, int]) -> list[Bifurcation]:
        before, after = (ids[slot].reshape(images, -1) for slot in pair)
        places = eigenvectors[before] * np.sqrt(len(eigenvectors))
        of_maps = [(m.concepts[before], m.concepts[after], labels[before], m.count) for m in maps]
        return [bifurcation(*one, orders, places) for one in of_maps]

    parted = in_threads(compare, plan.pairs)
    each = np.array([[(one.distance, one.expected, one.p) for one in pair] for pair in parted])  # (K, Z, 3)
    p = np.array([joint_p(pair) for pair in parted])
    return {
        "matched": each[..., 0].mean(1),
        "matched.expected": each[..., 1].mean(1),
        "matched.rows": np.stack([pair[0].rows for pair in parted]),
        "matched.images": np.array([pair[0].images for pair in parted], np.int64),
        "maps.concepts": np.array([one.count for one in maps], np.int64),
        "maps.matched": each[..., 0],
        "maps.p": each[..., 2],
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
    nodes, images = np.zeros((2, *found.shape[:2]), np.int64)
    for number, (a, b) in enumerate(plan.pairs):
        before, after = (ids[slot].reshape(len(ids[slot]), -1) for slot in (a, b))  # (B, P)
        lengths = step_lengths(places[before], places[after])
        for place, group in enumerate(plan.groups):
            mine = _chosen(group, labels, before)
            found[number, place] = mean_by_image(lengths, mine)
            nodes[number, place], images[number, place] = mine.sum(), mine.any(1).sum()
    return {"steps": found[..., 0], "steps.error": found[..., 1], "steps.nodes": nodes, "steps.images": images}
