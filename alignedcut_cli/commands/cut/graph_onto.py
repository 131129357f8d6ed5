"""`alignedcut cut --onto cut/NAME` for a cut of graphs: new images by their edges to the places of the cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.cut.graph_inputs import GRAPHS, Source, find_sources, source_inputs, source_slots
from alignedcut_cli.commands.cut.graph_pictures import draw_eigenvectors
from alignedcut_cli.commands.cut.graph_plan import GraphLayer, joint_slots
from alignedcut_cli.commands.cut.onto import ALGORITHM, Tensors, make_onto
from alignedcut_cli.errors import DataError, InputMissingError, OutOfMemoryError, UsageError
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.nodes.slots import Slot, require_same_images
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from alignedcut_cli.commands.cut.asked import Asked
    from alignedcut_cli.core.graph.new_images import Edges, Limits

__all__ = ["run_graphs_onto"]


@dataclass(frozen=True)
class GraphOntoPlan:
    """The plan of the new rows: `layers` of the new images, and `known`, those of the base cut.

    `groups` are the slots of the new node table, graph by graph.
    """

    recipe: Recipe
    parents: tuple[Header, ...]
    base: Header
    path: Path
    layers: tuple[GraphLayer, ...]
    known: tuple[GraphLayer, ...]
    groups: tuple[tuple[Slot, ...], ...]

    @property
    def images(self) -> Sequence[Any]:
        return self.layers[0].queries.source.images

    @property
    def parts(self) -> list[list[int]]:
        """The indices of the layers of each cut."""
        numbers = range(len(self.layers))
        return [[one] for one in numbers] if self.base.params["per_slot"] else [list(numbers)]

    def heads(self, layer: GraphLayer) -> int:
        return layer.queries.about["heads"] if self.base.params["heads"] else 1

    def fixed_bytes(self) -> int:
        """Bytes that do not depend on the batch of new images: the base's features of a layer, its rows."""
        from alignedcut_cli.core.graph.nearest_search import COLUMN_TILE, ROW_TILE

        nodes, count = self.base.axes["M"]["size"], self.base.axes["C"]["size"]
        images = self.base.axes["B"]["size"]
        features = max(4 * (images + len(self.images)) * one.places * one.queries.about["width"] for one in self.known)
        tiles = 4 * 4 * ROW_TILE * COLUMN_TILE
        return 4 * features + 3 * 4 * nodes * (count + 1) + tiles + 4 * len(self.images) * sum(self._places()) * count

    def image_bytes(self) -> int:
        """Bytes of one new image: its edges in all graphs of a cut, and a layer's features."""
        params, count = self.base.params, self.base.axes["C"]["size"]
        each = 4 * (count + 2) + 2 * 8 * params["neighbors"]
        edges = max(sum(self.heads(self.layers[n]) * self.layers[n].places * each for n in part) for part in self.parts)
        search = max(
            one.places * (4 * 4 * one.queries.about["width"] + 40 * params["neighbors_across"]) for one in self.layers
        )
        return edges + search + 8 * max(self._places()) * count

    def _places(self) -> list[int]:
        return [slot.tokens for group in self.groups for slot in group]


def run_graphs_onto(frame: Frame, asked: Asked, onto: str, budget: int) -> None:
    """Plan, then embed, or print the plan (--dry-run). Raises UsageError, DataError or InputMissingError."""
    plan = _plan(frame, asked, onto)
    need = plan.fixed_bytes() + plan.image_bytes()
    if need > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"embedding one image at a time takes {format_bytes(need)}, --memory allows {format_bytes(budget)}",
            "Give more --memory",
        )
    path, folder = frame.project.path("cut", plan.recipe.name), frame.project.pictures("cut", plan.recipe.name)
    if asked.dry_run:
        size = len(plan.images) * sum(slot.tokens for group in plan.groups for slot in group)
        outputs = [(str(path), size * (4 * plan.base.axes["C"]["size"] + 16))]
        outputs += [(f"{folder}/", 0)] if asked.pictures else []
        described = DryRun([f"{one.kind}/{one.name}" for one in plan.recipe.inputs], outputs, need)
        frame.dry_run(described)
        return
    import torch

    batch = max(1, (budget - plan.fixed_bytes()) // plan.image_bytes())
    rows_of = partial(_rows, frame, plan, batch)
    header, made = make_onto(frame, plan, torch.device("cpu"), asked.overwrite, rows_of)
    value = {"schema": "alignedcut.cut/1", **frame.artifact_object(header, made=made)}
    lines = [value["path"]]
    value |= {"solver": header.params["solver"], "certificates": []}
    if asked.pictures:
        draw_eigenvectors(frame, header, asked.images)
        lines.append(str(folder))
        value["pictures"] = str(folder)
    frame.output.result("\n".join(lines), value)


def _plan(frame: Frame, asked: Asked, onto: str) -> GraphOntoPlan:
    project = frame.project
    found = project.parse(onto, "cut")[1]
    given, base = project.input("onto", "cut", found)
    _require_extensible(base)
    graph, chosen = base.params["graph"], base.params["layers"]
    sources = find_sources(frame, graph, asked.source)
    before = _base_sources(frame, base)
    if len(sources) != len(before):
        raise UsageError(
            "other-slots",
            f"cut/{found} joined {len(before)} models, {len(sources)} were given",
            "Give one --from for each, in its order: " + ", ".join(one.model_name for one in before),
        )
    inputs = source_inputs(frame, sources)
    headers = [header for _, header in inputs]
    require_same_images([one.name for one, _ in inputs], headers)
    layers, known = (
        [
            GraphLayer(*pair, 0.0)
            for source, wanted in zip(some, chosen, strict=True)
            for pair in source_slots(frame, source, ",".join(map(str, wanted)))
        ]
        for some in (sources, before)
    )
    for new, old in zip(layers, known, strict=True):
        _require_alike(base, new, old)
    name = check_name(asked.name or f"{'+'.join(one.model_name for one in sources)}-onto-{found}")
    everything = [*inputs, (given, base)]
    recipe = Recipe("cut", name, ALGORITHM, {**base.params, "onto": True}, tuple(one for one, _ in everything))
    groups = tuple((slot,) for slot in joint_slots(graph, layers, per_slot=base.params["per_slot"]))
    parents = tuple(header for _, header in everything)
    return GraphOntoPlan(recipe, parents, base, project.path("cut", found), tuple(layers), tuple(known), groups)


def _require_extensible(base: Header) -> None:
    params, reason, remedy = base.params, "", ""
    if params["scope"] == "image":
        reason, remedy = "image by image: new images have none in common with it", "Cut the new images likewise"
    elif params.get("onto"):
        reason, remedy = "itself an embedding", "Name the cut that it is onto"
    elif params["solver"] != "direct":
        reason, remedy = (
            "by gradient descent, whose vectors are no eigenvectors",
            "Make the base cut with --solver direct",
        )
    elif "degrees" not in base.raw["tensors"]:
        reason, remedy = "by an earlier version, which kept no degrees", "Make it again with --overwrite"
    if reason:
        raise UsageError("not-extensible", f"cut/{base.name} was made {reason}", remedy)


def _base_sources(frame: Frame, base: Header) -> list[Source]:
    """The feature sets of the base cut, unchanged since. Raises InputMissingError or DataError."""
    given = [one for one in base.inputs if one.kind == "features"]
    for one in given:
        if one.name not in frame.project.names("features"):
            raise InputMissingError(
                "artifact-missing",
                f"features/{one.name}, of which cut/{base.name} was made, is gone: new places are compared with its",
                "Extract it again under that name",
            )
        if frame.project.header("features", one.name).content != one.content:
            raise DataError(
                "other-features",
                f"features/{one.name} is another than the one that cut/{base.name} was made of",
                "Cut again, or restore it",
            )
    width = len(dict.fromkeys(GRAPHS[base.params["graph"]]))
    names = [one.name for one in given]
    return [Source(names[n], names[n + width - 1]) for n in range(0, len(names), width)]


def _require_alike(base: Header, new: GraphLayer, old: GraphLayer) -> None:
    """Raise DataError unless a layer of the new images is the same layer of the same weights."""
    for one, other in ((new.queries, old.queries), (new.keys, old.keys)):
        keys = ("model", "layer", "tap", "width", "grid", "heads")
        differs = [key for key in keys if one.about.get(key) != other.about.get(key)]
        told = ", ".join(f"{key} {one.about.get(key)}, not {other.about.get(key)}" for key in differs)
        weights = [slot.source.header.raw["external"].get("weights") for slot in (one, other)]
        if weights[0] != weights[1]:
            told = f"other weights than {other.name}"
        if told:
            raise DataError(
                "other-slots",
                f"{one.name} has {told}: cut/{base.name} cannot place its nodes",
                "Extract as its features were",
            )


def _rows(frame: Frame, plan: GraphOntoPlan, batch: int, base: Tensors) -> list[np.ndarray]:
    """The rows of each cut: (n, C) float32."""
    import numpy as np
    import torch

    from alignedcut_cli.core.graph.new_images import embedded_rows
    from alignedcut_cli.core.numerics import NumericsError

    base = {name: np.array(array) for name, array in base.items()}
    found, alone, before = [], 0, 0
    work = len(plan.images) * sum(one.places for one in plan.layers)
    with frame.output.progress("embedding", work, "places") as advance:
        for number, part in enumerate(plan.parts):
            start, stop = base["graphs"][number]
            vectors = torch.from_numpy(base["eigenvectors"][start:stop])
            values = torch.from_numpy(base["eigenvalues"][number])
            grid = plan.groups[number][0].about["grid"]
            rows, place = [], before
            for first in range(0, len(plan.images), batch):
                images = range(first, min(first + batch, len(plan.images)))
                edges: list[Edges] = []
                place = before
                for layer in part:
                    for one, size in _edges(plan, layer, base, place, vectors, images):
                        edges.append(one)
                        place += size
                    advance(len(images) * plan.layers[layer].places)
                try:
                    some, lonely = embedded_rows(edges, values, (grid[0], grid[1]))
                except NumericsError as error:
                    raise DataError(
                        "cannot-embed", f"cut/{plan.base.name}: {error}", "Cut it with fewer --eigenvectors"
                    ) from None
                rows.append(some.numpy())
                alone += int(lonely.sum())
            before = place
            found.append(np.concatenate(rows))
    if alone:
        frame.output.note(f"{alone} places have no neighbour in any graph: their rows are zero")
    return found


def _edges(
    plan: GraphOntoPlan, number: int, base: Tensors, place: int, vectors: Tensor, images: range
) -> Iterator[tuple[Edges, int]]:
    """The edges of some new images in each graph of a layer, and the number of the base's places in that graph."""
    import torch

    from alignedcut_cli.core.graph.new_images import KnownGraph, edges_of
    from alignedcut_cli.core.graph.sparse_graph import split_heads

    new, old = plan.layers[number], plan.known[number]
    heads, limits = plan.heads(new), _limits(plan)
    own = slice(images.start * new.places, images.stop * new.places)
    mine = [split_heads(rows[own], heads) for rows in new.rows()]
    theirs = [split_heads(rows, heads) for rows in old.rows()]
    weight = float(base["layer_weights"][number]) / heads
    fine = tuple(plan.groups[number if plan.base.params["per_slot"] else 0][0].about["grid"])
    for queries, keys, q, k in zip(*mine, *theirs, strict=True):
        kept = slice(place, place + len(q))
        known = KnownGraph(q, k, *(torch.from_numpy(base[name][kept]) for name in ("degrees", "least")))
        yield edges_of(known, queries, keys, vectors, limits, fine=fine, grid=new.grid, weight=weight), len(q)
        place += len(q)


def _limits(plan: GraphOntoPlan) -> Limits:
    from alignedcut_cli.core.graph.new_images import Limits

    params = plan.base.params
    across = params["neighbors_across"] or params["neighbors"]  # a cut of one image has none across
    return Limits(params["neighbors"], across, params["threshold"])
