"""The plan of a cut: slots, graphs, every `auto` resolved, and the memory needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.cut.asked import Asked
from alignedcut_cli.commands.cut.solver import SOLVERS, choose_solver, measure_solvers, solver_params
from alignedcut_cli.commands.cut.stability import bootstrap_bytes, require_images
from alignedcut_cli.errors import AlignedcutError, UsageError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.nodes.rows import graph_rows
from alignedcut_cli.nodes.slots import Slot, find_slots, require_same_images
from alignedcut_cli.nodes.spaces import Space, aligned_space, comparable_slots
from alignedcut_cli.store.canonical import digest
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import Project, check_name
from alignedcut_cli.store.ranges import held_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["Plan", "make_plan"]

ALGORITHM = 2
LONGEST_ROI_NAME = 60


@dataclass(frozen=True)
class Plan:
    """The cuts to be made: `groups` of slots, each one graph of `nodes`, compared in `space`."""

    recipe: Recipe
    parents: tuple[Header, ...]
    space: Space
    groups: tuple[tuple[Slot, ...], ...]
    images: Sequence[Any]
    nodes: tuple[int, ...]
    why: str = ""

    @property
    def slots(self) -> list[Slot]:
        return [slot for group in self.groups for slot in group]

    @property
    def graphs(self) -> str:
        """What each graph of the cut covers."""
        return "one a slot" if self.recipe.params["per_slot"] else "one for all slots"

    def span(self, number: int) -> int:
        """The nodes of each range of a graph: of 128 MiB of features, as wide as its widest."""
        from alignedcut_cli.core.graph.one_pass import range_nodes

        return range_nodes(max(slot.about["width"] for slot in self.groups[number]))

    def need(self) -> int:
        """Main memory in bytes for the largest graph and its transforms, without tiles."""
        graphs = (
            _graph_bytes(count, self.space.width(group[0]), self.recipe.params) + self.space.transform_bytes(group)
            for count, group in zip(self.nodes, self.groups, strict=True)
        )
        return max(self.space.opening_bytes(), *graphs)

    def need_of_merging(self) -> int:
        """Main memory in bytes for putting together what tasks wrote: eigenvectors and node table, of a shard at a time."""
        return held_bytes(
            sum(self.nodes), 4 * (self.recipe.params["eigenvectors"] + 4 + ("balance" in self.recipe.params))
        )

    def need_of_a_task(self, nodes: int) -> int:
        """Main memory in bytes of the largest task: a pilot, or Y twice of a range of so many nodes."""
        params = {**self.recipe.params, "refine": 0, "bootstrap": 0}
        pilots = (
            _lowrank_bytes(count, self.space.width(group[0]), params) - _spare_bytes(count, params)
            for count, group in zip(self.nodes, self.groups, strict=True)
        )
        transforms = max(map(self.space.transform_bytes, self.groups))
        return max(self.space.opening_bytes(), transforms + max(*pilots, 2 * self.projected_bytes(nodes)))

    def feature_bytes(self) -> int:
        """Bytes of the stored features of all nodes."""
        return sum(2 * slot.about["width"] * slot.nodes for slot in self.slots)

    def projected_bytes(self, nodes: int) -> int:
        """Bytes of Y of some nodes."""
        return 4 * nodes * self.recipe.params["eigenvectors"] + _spare_bytes(nodes, self.recipe.params)


def make_plan(frame: Frame, asked: Asked, device: torch.device) -> Plan:
    """The plan of a cut on a device, from headers alone unless `--solver auto` has to measure a sample of the nodes.

    Nothing is measured if the cut exists already, by either solver.

    Raises UsageError, DataError or InputMissingError.
    """
    _require_used(asked)
    project = frame.project
    names = [project.parse(text, "features")[1] for text in asked.source] or [project.only("features")]
    _require_distinct(names)
    found = [project.input(f"features.{number}", "features", one) for number, one in enumerate(names)]
    inputs, parents = [given for given, _ in found], [header for _, header in found]
    sets = [frame.features(one) for one in names]
    slots = [slot for features in sets for slot in find_slots(features, asked.layers)]
    require_same_images(names, parents)
    space = Space("raw") if asked.space == "raw" else aligned_space(project, asked.space, asked.align, asked.roi)
    slots = comparable_slots(space, slots)
    if space.alignment is None and not asked.per_slot:
        _require_same_width(frame, slots)
    groups = tuple((slot,) for slot in slots) if asked.per_slot else (tuple(slots),)
    counts = tuple(sum(slot.nodes for slot in group) for group in groups)
    if asked.eigenvectors > min(counts):
        raise UsageError(
            "too-many-eigenvectors", f"--eigenvectors {asked.eigenvectors} of {min(counts)} nodes", "Ask for fewer"
        )
    images = parents[0].axes["B"]["images"]
    require_images(asked.bootstrap, len(images))
    if space.alignment:
        inputs.append(space.alignment.given)
        parents.append(space.alignment.header)
    name = check_name(asked.name or _default_name(names, space, asked.per_slot))
    layers = [[slot.layer for slot in slots if slot.source.folder.name == one] for one in names]

    def recipe(solver: str) -> Recipe:
        params = solver_params(asked, solver, max(counts), device) | space.params | {"layers": layers}
        return Recipe("cut", name, ALGORITHM, params, tuple(inputs))

    solver, why = choose_solver(asked, max(counts), device)
    if solver is None:
        solver, why = _made_before(project, recipe), "as the cut that is there"
    if solver is None:
        largest = groups[counts.index(max(counts))]
        solver, why = measure_solvers(asked, graph_rows(largest, space, device))
    return Plan(recipe(solver), tuple(parents), space, groups, images, counts, why)


def _made_before(project: Project, recipe: Callable[[str], Recipe]) -> str | None:
    """The solver by whose recipe the existing cut was made, if any.

    The measurements of `auto` differ a little between machines, and with them the choice between solvers of similar error:
    a cut by either is up to date, and nothing is measured.
    """
    for solver in SOLVERS[1:]:
        try:
            wanted = recipe(solver)
            if project.header("cut", wanted.name).recipe == wanted.identity:
                return solver
        except AlignedcutError:
            continue
    return None


def _require_used(asked: Asked) -> None:
    """Raise UsageError for options that the space does not use."""
    unused = {"raw": ["--align", "--roi"], "aligned": ["--roi"]}.get(asked.space, [])
    given = [option for option in unused if option in asked.explicit]
    if given:
        remedy = "Leave it out, or give --space brain" + ("" if "--roi" in given else " or aligned")
        raise UsageError("option-unused", f"--space {asked.space} does not use {', '.join(given)}", remedy)


def _require_distinct(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise UsageError("input-twice", f"--from names {twice} twice", "Give each feature set once")


def _require_same_width(frame: Frame, slots: Sequence[Slot]) -> None:
    widths = sorted({slot.about["width"] for slot in slots})
    if len(widths) > 1:
        told = ", ".join(map(str, widths))
        raise UsageError(
            "not-comparable",
            f"these slots have {told} channels: in raw space their channels are not comparable",
            "Align them and give --space aligned, or give --per-slot for one cut a slot",
        )
    if len({slot.about["model"] for slot in slots}) > 1:
        frame.output.note("raw channels of different models do not correspond: read the colours model by model")


def _default_name(names: Sequence[str], space: Space, per_slot: bool) -> str:
    """The feature sets' names, with the space unless it is raw, its areas, and `per-slot`."""
    parts = ["+".join(names)]
    if space.alignment:
        parts.append(space.name)
        if space.alignment.rois:
            parts.append(_roi_name(space.alignment.rois))
    return "-".join([*parts, *(["per-slot"] if per_slot else [])])


def _roi_name(rois: Sequence[str]) -> str:
    """Areas as part of a name; long lists as their number and a digest."""
    joined = "+".join("".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in roi) for roi in rois)
    return joined if len(joined) <= LONGEST_ROI_NAME else f"{len(rois)}-areas-{digest(list(rois))[:8]}"


def _graph_bytes(nodes: int, width: int, params: Any) -> int:
    """Memory of the solver for one graph in bytes: all features where needed, Krylov blocks, eigenvectors."""
    count = params["eigenvectors"]
    held = 4 * nodes * (count + 4) + (8 * nodes if "balance" in params else 0)
    if params["solver"] == "lowrank":
        return held + _lowrank_bytes(nodes, width, params)
    from alignedcut_cli.core.graph.block_krylov import DEPTH
    from alignedcut_cli.core.graph.ncut import EXTRA_BLOCK

    solved = min(nodes, params["nodes"]) if params["solver"] == "nystrom" else nodes
    pool = solved * (8 if params.get("sampling") == "fps" else 1)
    return held + 4 * (2 * min(pool, nodes) * width + 2 * solved * (count + EXTRA_BLOCK) * (DEPTH + 2))


def _lowrank_bytes(nodes: int, width: int, params: Any) -> int:
    """Bytes of the pilot's factor, its m x m float64 problems, the projection of all nodes, all features with --refine."""
    from alignedcut_cli.core.graph.lowrank import pilot_nodes

    size = min(params["nodes"], nodes)
    pool = size if params["sampling"] == "uniform" else min(nodes, 8 * size)
    factor = 4 * pilot_nodes(nodes, size) * (size + 1) + 8 * 6 * size**2
    refined = 4 * nodes * (2 * width + 2 * params["eigenvectors"]) if params["refine"] else 0
    return factor + 8 * pool * width + _spare_bytes(nodes, params) + refined + bootstrap_bytes(params)


def _spare_bytes(nodes: int, params: Any) -> int:
    """The columns of Y beyond the eigenvectors, float16."""
    from alignedcut_cli.core.graph.lowrank import spare_columns

    return 2 * nodes * (spare_columns(params["eigenvectors"]) - params["eigenvectors"])
