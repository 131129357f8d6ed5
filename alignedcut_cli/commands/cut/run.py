"""Cut every graph of a plan, and assemble the tensors of the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from alignedcut_cli.commands.cut.plan import Plan
from alignedcut_cli.commands.cut.solve import is_streamed, one_graph, open_rows, quick_for, solve
from alignedcut_cli.commands.cut.stability import stability_of, stability_tensors
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.slots import Slot, joined, node_tables
from alignedcut_cli.nodes.spaces import open_transforms
from alignedcut_cli.store.header import Recipe

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.core.graph.bootstrap import Stability
    from alignedcut_cli.core.graph.certificate import Certificate
    from alignedcut_cli.core.graph.ncut import Cut

__all__ = ["Solved", "certificates", "cut_axes", "cut_tensors", "solve_graphs", "tell_cut", "tell_plan"]

ROUGH = 0.1
LARGEST_RESIDUAL = 1e-3


class CutPlan(Protocol):
    """What the artifact of a cut is written from, for any kind of graph."""

    @property
    def recipe(self) -> Recipe: ...
    @property
    def slots(self) -> Sequence[Slot]: ...
    @property
    def nodes(self) -> Sequence[int]: ...
    @property
    def images(self) -> Sequence[Any]: ...
    @property
    def graphs(self) -> str: ...


class Solved:
    """The cut of one graph on the CPU, with the weights (M,) of its nodes where they were balanced.

    `rows` (M, C) are its eigenvectors, which may be read as they are needed: then those of `cut` are empty. `computed` names
    the precision; `stability` is present with --bootstrap.
    """

    def __init__(
        self,
        cut: Cut,
        weights: np.ndarray | None,
        computed: str,
        stability: Stability | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        from dataclasses import replace

        self.weights, self.computed, self.stability = weights, computed, stability
        self.cut = replace(
            cut,
            eigenvectors=cut.eigenvectors.cpu(),
            eigenvalues=cut.eigenvalues.cpu(),
            residuals=cut.residuals.cpu(),
            sampled=cut.sampled.cpu(),
        )
        self.rows = self.cut.eigenvectors.numpy() if rows is None else rows

    @property
    def certificate(self) -> Certificate:
        assert self.cut.certificate is not None
        return self.cut.certificate


def solve_graphs(frame: Frame, plan: Plan, device: torch.device, budget: int) -> list[Solved]:
    """The cut of every graph of a plan, small ones side by side as far as `budget` bytes hold them.

    Raises DataError for a graph that cannot be cut.
    """
    from alignedcut_cli.core.graph.parallel_tiles import share_items

    params = plan.recipe.params
    tell_plan(frame, plan, device)
    able = quick_for(params, max(plan.nodes), device)
    transform = open_transforms(plan.space)
    found: dict[int, Solved] = {}

    def cut_graph(number: int) -> None:
        quick = able if is_streamed(params, plan.nodes[number]) else able[:1]
        with one_graph(number):
            rows, precision = open_rows(plan, number, transform, device, quick)
            cut, weights = solve(frame, plan, rows, number, precision, device, budget)
            stability = None
            if params.get("bootstrap"):
                stability = stability_of(rows, plan.groups[number], cut, weights, params, number, budget)
        told = precision.told(plan.space.alignment is not None)
        found[number] = Solved(cut, None if weights is None else weights.cpu().numpy(), told, stability)

    graphs = range(len(plan.groups))
    together = budget // max(1, plan.need()) if _are_small(plan, device) else 1
    with frame.output.progress("cutting", len(graphs), "graphs") as advance:
        if together > 1:
            shares = [{number % together} for number in graphs]  # of the memory, which hold one graph at a time each
            share_items(shares, cut_graph, lambda _: advance(1))
        else:
            for number in graphs:
                cut_graph(number)
                advance(1)
    for number in graphs:
        tell_cut(frame, number, found[number], params)
    return [found[number] for number in graphs]


def _are_small(plan: Plan, device: torch.device) -> bool:
    """Whether the graphs are of the size that is cut sooner by one thread each, side by side: some ten thousand nodes.

    The bytes of `lowrank` do not depend on threads; a bootstrap shares its replicates among them.
    """
    params = plan.recipe.params
    whole = params["solver"] == "lowrank" and not any(is_streamed(params, nodes) for nodes in plan.nodes)
    return whole and device.type == "cpu" and not params.get("bootstrap")


def tell_plan(frame: Frame, plan: Plan, device: torch.device) -> None:
    """Report with --verbose what is cut, and by which solver."""
    graphs = f"{len(plan.groups)} graph(s) of up to {max(plan.nodes)} nodes"
    frame.output.detail(f"{plan.recipe.params['solver']} on {device} ({plan.why}): {graphs}")


def tell_cut(frame: Frame, number: int, solved: Solved, params: Any) -> None:
    """Report the certificate with --verbose; always warn of an inaccurate cut."""
    found, worst = solved.certificate, float(solved.cut.residuals.max())
    frame.output.detail(
        f"graph {number}: certificate: residual {found.residual:.2g} of the smallest eigenvalue on {found.rows} exact "
        f"rows, orthogonality {found.orthogonality:.1e}, rank {found.rank}"
    )
    if params["solver"] == "lowrank" and found.residual > ROUGH:
        frame.output.note(
            f"graph {number}: the certificate's residual is {found.residual:.2g} of the smallest eigenvalue; its last "
            "eigenvectors are rough: give more --nodes, or --refine 1"
        )
    elif params["solver"] != "lowrank" and worst > LARGEST_RESIDUAL:
        frame.output.note(f"graph {number}: the largest residual is {worst:.1e}; its eigenvectors are rough")


def certificates(solved: Sequence[Solved]) -> list[dict[str, float]]:
    """The certificate of each graph, as printed and stored in headers."""
    return [
        {
            "residual": float(f"{one.certificate.residual:.6g}"),
            "orthogonality": float(f"{one.certificate.orthogonality:.3g}"),
            "rank": one.certificate.rank,
            "rows": one.certificate.rows,
        }
        for one in solved
    ]


def cut_tensors(plan: CutPlan, solved: Sequence[Solved]) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    """The tensors of a cut artifact, and their meanings."""
    import numpy as np

    cuts = [one.cut for one in solved]
    offsets = np.cumsum([0, *plan.nodes])
    tensors = {
        "eigenvectors": joined([one.rows for one in solved]),
        "eigenvalues": np.stack([cut.eigenvalues.cpu().numpy() for cut in cuts]),
        "residuals": np.stack([cut.residuals.cpu().numpy() for cut in cuts]),
        "nodes": node_tables([slot.about for slot in plan.slots], len(plan.images)),
        "sampled": np.concatenate([cut.sampled.numpy() + offset for cut, offset in zip(cuts, offsets, strict=False)]),
        "graphs": np.stack([offsets[:-1], offsets[1:]], 1).astype(np.int64),
        "certificate": np.array([list(one.values()) for one in certificates(solved)], np.float64),
    }
    lowrank = plan.recipe.params["solver"] == "lowrank"
    landmarks = "the nodes that are the landmarks of the factor, or that their means lie around"
    kept = landmarks if lowrank else "the nodes whose graph was solved; the others took Eq. 4"
    where = "estimated on the exact rows of the certificate" if lowrank else "on the solved graph"
    meanings = {
        "eigenvectors": ("M C", "top eigenvectors of D^-1/2 A D^-1/2, one row a node, largest eigenvalue first"),
        "eigenvalues": ("G C", "their eigenvalues, graph by graph"),
        "residuals": ("G C", f"|N x - lambda x| {where}"),
        "nodes": ("M T", "image, slot, row, col of each node; row = col = -1 for the class token"),
        "sampled": ("m", kept),
        "graphs": ("G R", "the nodes of each graph: start, stop"),
        "certificate": ("G Q", "how far each graph's cut is from the exact one, see axis Q"),
    }
    if plan.recipe.params.get("balance"):
        tensors["weights"] = joined([one.weights for one in solved if one.weights is not None])
        meanings["weights"] = ("M", "what each node counts for, mean 1: X^T diag(weights) X = I")
    for number, cut in enumerate(cuts):
        if cut.extension:
            tensors[f"landmarks.{number:03d}"] = cut.extension.landmarks.half().cpu().numpy()
            tensors[f"maps.{number:03d}"] = cut.extension.maps.cpu().numpy()
            meanings[f"landmarks.{number:03d}"] = (
                "l E",
                f"unit rows of graph {number}'s landmarks in the space of the cut",
            )
            meanings[f"maps.{number:03d}"] = (
                "L F",
                "row of a node = [1, b] F / sqrt([1, b] g), b its kernel columns, g last",
            )
    replicates, told = stability_tensors([one.stability for one in solved if one.stability])
    return tensors | replicates, meanings | told


def cut_axes(plan: CutPlan, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The axes of a cut artifact."""
    return {
        "M": {"size": len(tensors["nodes"])},
        "C": {"size": plan.recipe.params["eigenvectors"]},
        "G": {
            "size": len(plan.nodes),
            "graphs": plan.graphs,
        },
        "m": {"size": len(tensors["sampled"])},
        "T": {"size": 4, "labels": ["image", "slot", "row", "col"]},
        "R": {"size": 2, "labels": ["start", "stop"]},
        "Q": {"size": 4, "labels": ["residual", "orthogonality", "rank", "rows"]},
        **({"r": {"size": plan.recipe.params["bootstrap"]}} if "moves" in tensors else {}),
        "B": {"size": len(plan.images), "images": list(plan.images)},
        "S": {"size": len(plan.slots), "slots": [slot.about for slot in plan.slots]},
    }
