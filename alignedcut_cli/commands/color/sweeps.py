"""The sweeps of a coloring: the t-SNE of each graph's sample, and the nearest placed node of the nodes of each range.

A range reads its own rows of the cut and the placed rows, memory-mapped, and no others. Every node has the place of a
placed one, so that a range writes numbers of placed nodes (4 bytes a node) and how often each comes: from these counts
the colour limits over all nodes are exact, and places and colours are looked up at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.color.asked import Asked
from alignedcut_cli.commands.color.plan import Plan, make_plan, tsne_device
from alignedcut_cli.frame.keep import Held, Keeper
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import Sweep
from alignedcut_cli.store.artifact import map_tensors
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.parts import Parts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.core.embed.colours import Sample

__all__ = ["Placing", "finished", "numerics", "open_sweeps"]

PLACE, ASSIGN = "place", "assign"
Arrays = Mapping[str, "np.ndarray"]


def open_sweeps(frame: Frame, asked: Asked) -> list[tuple[Recipe, list[Sweep]]]:
    """The sweeps of the coloring that is asked for, whose parts are files."""
    plan, device = make_plan(frame, asked), tsne_device(asked.device)
    return [(plan.recipe, Placing(frame, plan, Parts(frame.project, plan.recipe, numerics(device)), device).sweeps())]


def numerics(device: torch.device) -> dict[str, str]:
    """The libraries and device with which coordinates are computed."""
    from importlib.metadata import version

    used = {name: version(name) for name in ("numba", "numpy", "torch")}
    return {**used, "computed": "float32", "device": device.type}


class Placing:
    """The tasks of a coloring, and what they wrote. With a `keeper`, t-SNE keeps checkpoints and goes on from them."""

    def __init__(
        self, frame: Frame, plan: Plan, parts: Parts | Held, device: torch.device, keeper: Keeper | None = None
    ) -> None:
        self._frame, self._plan, self._parts, self._device, self._keeper = frame, plan, parts, device, keeper
        self._kept: Arrays = {}
        self._marked: tuple[int, Any] = -1, None

    def sweeps(self) -> list[Sweep]:
        """That of t-SNE, unless the places are those of another coloring, and that of the ranges."""
        from alignedcut_cli.core.embed.colours import ITERATIONS

        plan = self._plan
        sizes = [stop - first for _, first, stop in plan.ranges]
        found = [Sweep(ASSIGN, "assigning nodes", "nodes", sizes, lambda: self._missing(ASSIGN, sizes), self._assign)]
        if plan.base:
            return found
        steps = [sum(ITERATIONS)] * len(plan.graphs)
        return [
            Sweep(PLACE, "placing nodes", "iterations", steps, lambda: self._missing(PLACE, steps), self._place)
        ] + found

    def _missing(self, sweep: str, sizes: Sequence[int]) -> list[int]:
        return self._parts.missing(sweep, len(sizes))

    @cached_property
    def _eigenvectors(self) -> np.ndarray:
        """The eigenvectors that are used of all nodes (M, C), mapped."""
        return self._mapped(self._plan.cut)["eigenvectors"][:, : self._plan.recipe.params["eigenvectors"]]

    def _mapped(self, cut: str) -> Arrays:
        return map_tensors(self._frame.project.path("cut", cut))

    def resume(self) -> None:
        """Take up the graphs, and the state of t-SNE, that an interrupted run kept."""
        kept = (self._keeper and self._keeper.read()) or {}
        count = len(self._plan.graphs)
        for number in range(finished(kept)):
            own = {name: kept[f"{name}.{number}"] for name in ("sampled", "places", "numbers")}
            self._parts.write(PLACE, number, count, own)
        self._kept = kept

    def _place(self, numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        for number in numbers:
            self._write(number, self._sample(number, advance))
            if self._keeper:
                self._keeper(self._finished)

    def _sample(self, number: int, advance: Callable[[int], None]) -> Sample:
        """The t-SNE of a graph's sample, from where an interrupted run left it."""
        from alignedcut_cli.core.embed.colours import embed_sample
        from alignedcut_cli.core.numerics import stream

        params, keeper = self._plan.recipe.params, self._keeper
        kept, self._kept = self._kept, {}
        return embed_sample(
            self._eigenvectors,
            params["dims"],
            nodes=params["nodes"],
            perplexity=params["perplexity"],
            seed=stream(params["seed"], "color", number) % (1 << 32),
            device=self._device,
            within=self._plan.graphs[number],
            tick=advance,
            keep=(lambda state: keeper(lambda: {**self._finished(), **state()})) if keeper else None,
            state=kept if "done" in kept else None,
        )

    def _write(self, number: int, sample: Sample) -> None:
        import numpy as np

        arrays = {
            "sampled": sample.ids,
            "places": sample.places,
            "numbers": np.array([sample.divergence, sample.perplexity]),
        }
        self._parts.write(PLACE, number, len(self._plan.graphs), arrays)

    def _finished(self) -> Arrays:
        """The finished graphs, as tensors of a checkpoint."""
        count = len(self._plan.graphs)
        missing = set(self._parts.missing(PLACE, count))
        done = [number for number in range(count) if number not in missing]
        return {
            f"{name}.{number}": array
            for number in done
            for name, array in self._parts.read(PLACE, number, count).items()
        }

    def placed(self, graph: int) -> Arrays:
        """Of a graph's placed nodes: sampled (m,), their numbers within the graph, places (m, d), and numbers (2,),
        divergence and perplexity."""
        return self._placed_before(graph) if self._plan.base else self._parts.read(PLACE, graph, len(self._plan.graphs))

    def _placed_before(self, graph: int) -> Arrays:
        """The same of the base, read in its placed rows alone."""
        import numpy as np

        assert self._plan.base
        coloured = map_tensors(self._frame.project.path("color", self._plan.base.given.name))
        start, stop = self._mapped(self._plan.base.cut.name)["graphs"][graph]
        sampled = np.array(coloured["sampled"])
        own = sampled[(sampled >= start) & (sampled < stop)]
        about = np.array([coloured["divergence"][graph], coloured["perplexity"][graph]])
        return {"sampled": own - start, "places": coloured["coordinates"][own], "numbers": about}

    def _assign(self, numbers: Sequence[int], advance: Callable[[int], None]) -> None:
        import numpy as np

        from alignedcut_cli.core.embed.colours import nearest_sampled

        for number in numbers:
            graph, first, stop = self._plan.ranges[number]
            if self._marked[0] != graph:
                self._marked = graph, self._marks(graph)
            rows, scale, ids = self._marked[1]
            own = None if self._plan.base else ids + (self._plan.graphs[graph][0] - first)
            nearest = nearest_sampled(self._eigenvectors[first:stop], rows, scale, own)
            counts = np.bincount(nearest, minlength=len(ids)).astype(np.int32)
            self._parts.write(ASSIGN, number, len(self._plan.ranges), {"nearest": nearest, "counts": counts})
            advance(stop - first)

    def _marks(self, graph: int) -> tuple[np.ndarray, np.float32, np.ndarray]:
        """The placed rows (m, C) of a graph, scaled, their scale, and their numbers (m,) within it."""
        from alignedcut_cli.core.embed.colours import marks_of

        plan, ids = self._plan, self.placed(graph)["sampled"]
        if not plan.base:
            return (*marks_of(self._eigenvectors, ids, plan.graphs[graph]), ids)
        cut = self._mapped(plan.base.cut.name)
        start, stop = cut["graphs"][graph]
        rows = cut["eigenvectors"][:, : plan.recipe.params["eigenvectors"]]
        return (*marks_of(rows, ids, (int(start), int(stop))), ids)

    def assigned(self, number: int) -> Arrays:
        """Of a range's nodes: nearest (n,), numbers of placed nodes, and counts (m,), how often each comes."""
        return self._parts.read(ASSIGN, number, len(self._plan.ranges))


def finished(kept: Arrays) -> int:
    """The number of graphs in a checkpoint."""
    return sum(name.startswith("numbers.") for name in kept)
