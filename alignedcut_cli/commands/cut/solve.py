"""One graph of a plan: its rows, the precision in which they are multiplied, the weights of its nodes, and its cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from alignedcut_cli.commands.cut.plan import Plan
from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.slots import Slot

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.core.graph.ncut import Cut

__all__ = [
    "Precision",
    "centres_of",
    "in_tiles",
    "is_streamed",
    "landmark_options",
    "one_graph",
    "open_rows",
    "quick_for",
    "solve",
]

BLUR_SAMPLE = 1_000
REMEDY = "Ask for fewer --eigenvectors, or change --gamma or --solver; aligned nodes need more channels than these"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Precision:
    """That of a graph's cosines, and that of the products with its transforms."""

    cosines: str = "float32"
    transforms: str = "float32"

    def told(self, transformed: bool) -> str:
        """As headers keep it."""
        return f"{self.cosines}, transforms {self.transforms}" if transformed else self.cosines

    def codes(self) -> dict[str, np.ndarray]:
        """As parts keep it: the places of both in PRECISIONS."""
        import numpy as np

        from alignedcut_cli.core.graph.quantised_cosines import PRECISIONS

        return {"precision": np.array([PRECISIONS.index(one) for one in (self.cosines, self.transforms)])}

    @staticmethod
    def of(part: Mapping[str, np.ndarray]) -> Precision:
        """The one that a part keeps."""
        from alignedcut_cli.core.graph.quantised_cosines import PRECISIONS

        cosines, transforms = (PRECISIONS[code] for code in part["precision"])
        return Precision(cosines, transforms)


@contextmanager
def one_graph(number: int) -> Iterator[None]:
    """Raise DataError, which names the graph, where it has no such cut."""
    from alignedcut_cli.core.numerics import NumericsError

    try:
        yield
    except NumericsError as error:
        raise DataError("cannot-cut", f"graph {number}: {error}", REMEDY) from None


def is_streamed(params: Any, nodes: int) -> bool:
    """Whether a graph of so many nodes is cut by lowrank in a pass over its nodes."""
    from alignedcut_cli.core.graph.lowrank import is_whole

    return params["solver"] == "lowrank" and not is_whole(nodes, params["nodes"])


def quick_for(params: Any, nodes: int, device: torch.device) -> list[str]:
    """The precisions that are allowed in graphs of so many nodes, the slowest first: low ones in a pass alone."""
    from alignedcut_cli.core.graph.quantised_cosines import quick_precisions

    allowed = params.get("precision") == "auto" and is_streamed(params, nodes)
    return quick_precisions(device) if allowed else ["float32"]


def open_rows(
    plan: Plan,
    number: int,
    transform: Callable[[Slot], torch.Tensor | None],
    device: torch.device,
    able: Sequence[str],
) -> tuple[GraphRows, Precision]:
    """The rows of a graph, and the fastest precisions in `able` that blur them little."""
    transforms = [one for one in able if one != "int8"][-1]
    group = plan.groups[number]
    rows = GraphRows(group, [transform(slot) for slot in group], plan.space.name, device, transforms)
    return rows, Precision(_sharp(able, rows, plan.recipe.params, number), transforms)


def _sharp(able: Sequence[str], rows: GraphRows, params: Any, number: int) -> str:
    """The fastest precision in `able` (ordered by speed) that keeps the affinities of sampled nodes accurate."""
    from alignedcut_cli.core.graph.affinity import unit_rows
    from alignedcut_cli.core.graph.quantised_cosines import MOST_BLUR, blur
    from alignedcut_cli.core.graph.sampling import uniform_sample
    from alignedcut_cli.core.numerics import stream

    if len(able) == 1:
        return able[0]
    ids = uniform_sample(len(rows), min(len(rows), BLUR_SAMPLE), stream(params["seed"], "precision", number))
    units = unit_rows(rows.take(ids))
    return next(one for one in reversed(able) if one == able[0] or blur(units, params["gamma"], one) <= MOST_BLUR)


def in_tiles(frame: Frame, run: Callable[[int], Result], device: torch.device, budget: int | None = None) -> Result:
    """`run(tile)` with the largest tile that `budget` bytes allow, or a smaller one where memory runs out.

    Without a budget the tile is that of the device, so that sums do not depend on the memory allowed.
    """
    from alignedcut_cli.core.graph.affinity import tile_rows
    from alignedcut_cli.core.numerics import halving

    return halving(run, tile_rows(1 << 40 if budget is None else budget // 4, device), frame.output.note, "tiles of")


def solve(
    frame: Frame, plan: Plan, rows: GraphRows, number: int, precision: Precision, device: torch.device, budget: int
) -> tuple[Cut, torch.Tensor | None]:
    """The cut of one graph, held in memory, and the weights of its nodes."""
    params = {**plan.recipe.params, "precision": precision.cosines}

    def solved(tile: int) -> tuple[Cut, torch.Tensor | None]:
        weights = _weights(rows, params, number, tile)
        return _cut(rows, params, number, weights, tile, plan.span(number)), weights

    return in_tiles(frame, solved, device, None if params["solver"] == "lowrank" else budget)


def centres_of(rows: GraphRows, params: Any, number: int) -> torch.Tensor:
    """The centres of a balanced graph's cells: the directions of the nodes that lowrank takes as landmarks."""
    from alignedcut_cli.core.graph.affinity import unit_rows
    from alignedcut_cli.core.graph.sampling import SAMPLINGS
    from alignedcut_cli.core.numerics import stream

    seed = stream(stream(params["seed"], "cut", number), "sample")
    size = min(params["nodes"], len(rows))
    ids = SAMPLINGS[params["sampling"]](len(rows), size, seed, lambda some: unit_rows(rows.take(some)))
    return unit_rows(rows.take(ids))


def _weights(rows: GraphRows, params: Any, number: int, tile: int) -> torch.Tensor | None:
    """The weights of a balanced graph's nodes."""
    from alignedcut_cli.core.graph.density import voronoi_weights

    if "balance" not in params:
        return None
    centres = centres_of(rows, params, number)
    return voronoi_weights(rows.read, len(rows), centres, precision=params["precision"], tile=tile)


def landmark_options(params: Any, number: int) -> dict[str, Any]:
    """The options of `ncut_lowrank` and of its pilot for one graph."""
    from alignedcut_cli.core.numerics import stream

    chosen = {name: params[name] for name in ("nodes", "sampling", "gamma")}
    return {**chosen, "seed": stream(params["seed"], "cut", number)}


def _cut(rows: GraphRows, params: Any, number: int, weights: torch.Tensor | None, tile: int, span: int) -> Cut:
    """The cut of one graph, with its certificate."""
    from dataclasses import replace

    from alignedcut_cli.core.graph.certificate import certify
    from alignedcut_cli.core.graph.lowrank import ncut_lowrank
    from alignedcut_cli.core.graph.ncut import ncut_exact, ncut_nystrom
    from alignedcut_cli.core.numerics import stream

    total, count, gamma = len(rows), params["eigenvectors"], params["gamma"]
    seed = stream(params["seed"], "cut", number)
    if params["solver"] == "exact":
        return ncut_exact(rows.read(0, total), count, gamma=gamma, seed=seed, weights=weights, tile=tile)
    sampled = {**landmark_options(params, number), "tile": tile}
    if params["solver"] == "nystrom":
        cut = ncut_nystrom(rows.read, total, count, neighbors=params["neighbors"], take=rows.take, **sampled)
        certificate, _ = certify(
            rows.read, rows.take, cut.eigenvectors, cut.eigenvalues,
            gamma=gamma, rank=len(cut.sampled), seed=stream(seed, "certificate"), tile=tile,
        )  # fmt: skip
        return replace(cut, certificate=certificate)
    cut = ncut_lowrank(
        rows.read, total, count, precision=params["precision"], span=span, weights=weights, take=rows.take, **sampled
    )
    if params["refine"]:
        from alignedcut_cli.core.graph.affinity import unit_rows
        from alignedcut_cli.core.graph.refine import refine

        units = unit_rows(rows.read(0, total))
        cut = refine(
            units, cut, params["refine"], gamma=gamma, seed=stream(seed, "certificate"), weights=weights, tile=tile
        )
    return cut
