"""Coordinates and colours of all nodes of a cut, graph by graph, with checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
import torch

from alignedcut_cli.core.embed.colours import ITERATIONS, Embedding, rgb_cube, spectral_tsne
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.frame.keep import Arrays, Keeper
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Recipe

__all__ = ["numerics", "place_graphs"]


def numerics(device: torch.device) -> dict[str, str]:
    """The libraries and device with which coordinates are computed."""
    used = {name: version(name) for name in ("numba", "numpy", "torch")}
    return {**used, "computed": "float32", "device": device.type}


def place_graphs(
    frame: Frame, recipe: Recipe, tensors: Mapping[str, np.ndarray], device: torch.device
) -> dict[str, np.ndarray]:
    """The tensors rgb, coordinates, sampled, divergence and perplexity of a coloring of the cut in `tensors`."""
    params, graphs = recipe.params, tensors["graphs"]
    keeper = Keeper(frame, recipe, numerics(device), lambda state: _told(state, len(graphs)))
    kept = keeper.read() or {}
    found = [_embedding(kept, number) for number in range(_finished(kept))]
    whole = sum(ITERATIONS)
    progress = frame.output.progress("placing nodes", len(graphs) * whole, "iterations", len(found) * whole)
    with keeper.told_when_stopped(), progress as advance:
        for number in range(len(found), len(graphs)):
            start, stop = graphs[number]
            embedding = spectral_tsne(
                tensors["eigenvectors"][start:stop, : params["eigenvectors"]],
                params["dims"],
                nodes=params["nodes"],
                perplexity=params["perplexity"],
                seed=stream(params["seed"], "color", number) % (1 << 32),
                device=device,
                tick=advance,
                keep=lambda state: keeper(lambda: {**_arrays(found), **state()}),  # called in this iteration
                state=kept if "done" in kept else None,
            )
            found.append(embedding)
            kept = {}
    coloured = {
        "rgb": np.concatenate([rgb_cube(one.coordinates) for one in found]),
        "coordinates": np.concatenate([one.coordinates for one in found]),
        "sampled": np.concatenate([one.sampled + start for one, (start, _) in zip(found, graphs, strict=True)]),
        "divergence": np.array([one.divergence for one in found], np.float32),
        "perplexity": np.array([one.perplexity for one in found], np.float32),
    }
    keeper.drop()
    return coloured


def _arrays(found: list[Embedding]) -> dict[str, np.ndarray]:
    """The finished graphs, as tensors of a checkpoint."""
    arrays: dict[str, np.ndarray] = {}
    for number, one in enumerate(found):
        arrays |= {f"coordinates.{number}": one.coordinates, f"sampled.{number}": one.sampled}
        arrays[f"numbers.{number}"] = np.array([one.divergence, one.perplexity])
    return arrays


def _embedding(kept: Arrays, number: int) -> Embedding:
    divergence, perplexity = kept[f"numbers.{number}"].tolist()
    return Embedding(kept[f"coordinates.{number}"], kept[f"sampled.{number}"], divergence, perplexity)


def _finished(kept: Arrays) -> int:
    return sum(name.startswith("numbers.") for name in kept)


def _told(state: Arrays, graphs: int) -> str:
    done = _finished(state)
    now = f"{int(state['done'][0])} of {sum(ITERATIONS)} iterations"
    return now if graphs == 1 else f"{done} of {graphs} graphs and {now} of the next"
