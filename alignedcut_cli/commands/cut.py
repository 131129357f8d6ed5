"""`alignedcut cut`: feature sets in, the eigenvectors of their graph out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignedcut_cli import options
from alignedcut_cli.commands.frame import DryRun, Frame, demand_choice
from alignedcut_cli.config import memory_bytes, parse_layers, resolve_device
from alignedcut_cli.errors import DataError, OutOfMemoryError, UsageError
from alignedcut_cli.output import format_bytes
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.features import FeatureSet, NodeRows
from alignedcut_cli.store.header import Header, Input, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.core.ncut import Cut

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "cut"
ALGORITHM = 1
SPACES = ("raw",)
SOLVERS = ("auto", "exact", "nystrom")
EXACT_NODES = {"cpu": 20_000, "mps": 50_000, "cuda": 200_000}
NYSTROM_NODES = {"cpu": 10_000, "mps": 20_000, "cuda": 50_000}
EXAMPLES = (
    "alignedcut cut --from features/tiny-clip -p study",
    "alignedcut cut --from features/tiny-mae --per-slot --eigenvectors 12 --name mae-layers -p study",
    "alignedcut cut --from features/tiny-clip --solver nystrom --nodes 500 --sampling fps --name fast -p study",
)


@dataclass(frozen=True)
class Slot:
    """One slot of one feature set, with the nodes that it gives."""

    source: FeatureSet
    layer: int
    about: dict[str, Any]

    def blocks(self) -> list[np.ndarray]:
        return self.source.blocks(f"tokens.{self.layer:02d}")


@dataclass(frozen=True)
class Plan:
    """The cuts to be made: `groups` of slots, each one graph."""

    recipe: Recipe
    parents: tuple[Header, ...]
    groups: tuple[tuple[Slot, ...], ...]
    images: Sequence[Any]
    nodes: tuple[int, ...]

    @property
    def slots(self) -> list[Slot]:
        return [slot for group in self.groups for slot in group]

    def need(self) -> int:
        """Bytes of main memory that the largest graph takes, tiles not counted."""
        params = self.recipe.params
        return max(
            _graph_bytes(count, group[0].about["width"], params)
            for count, group in zip(self.nodes, self.groups, strict=True)
        )


def command(
    ctx: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="features/NAME", help="A feature set. May be repeated.  [default: the only one]"
        ),
    ] = None,
    space: Annotated[
        str, typer.Option("--space", help="Where nodes are compared: raw (a slot's own channels).")
    ] = "raw",
    layers: Annotated[
        str, typer.Option("--layers", help="all, or a list such as 0,3,5-9, of each feature set.")
    ] = "all",
    per_slot: Annotated[bool, typer.Option("--per-slot", help="One cut for each slot instead of one for all.")] = False,
    eigenvectors: Annotated[int, typer.Option("--eigenvectors", "-C", min=1, help="How many to keep.")] = 20,
    solver: Annotated[
        str,
        typer.Option("--solver", help="exact (Eq. 3), nystrom (Eq. 4), or auto: exact up to 20,000 nodes on a CPU."),
    ] = "auto",
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes", min=1, help="nystrom: nodes sampled and solved.  [default: 10,000 on a CPU, 50,000 on CUDA]"
        ),
    ] = None,
    neighbors: Annotated[int, typer.Option("--neighbors", min=1, help="nystrom: K nearest sampled nodes.")] = 100,
    sampling: Annotated[
        str, typer.Option("--sampling", help="nystrom: uniform, or fps (farthest points of 8 times as many).")
    ] = "uniform",
    gamma: Annotated[float, typer.Option("--gamma", help="Affinity exp((cos - 1) / gamma); smaller is sharper.")] = 1.0,
    name: Annotated[
        str | None, typer.Option("--name", help="The cut's name.  [default: from its inputs]", metavar="NAME")
    ] = None,
    project: options.Project = Path(),
    device: options.Device = "auto",
    memory: options.Memory = "50%",
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Cut the graph of all patches with normalized cut: the top eigenvectors, one row a node.

    Affinity A_ij = exp((cos(v_i, v_j) - 1) / gamma); eigenvectors of D^-1/2 A D^-1/2 (paper, Eq. 3). Nodes are all
    tokens of all images in the chosen slots; class tokens have row = col = -1 in the node table.
    """
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose)
    demand_choice("--space", space, SPACES)
    demand_choice("--solver", solver, SOLVERS)
    demand_choice("--sampling", sampling, ("uniform", "fps"))
    if not 0 < gamma < float("inf"):
        raise UsageError("bad-gamma", f"--gamma {gamma} is not positive", "Give a number above 0, such as 0.3")
    sampled_options = [
        option
        for option, parameter in (("--nodes", "nodes"), ("--neighbors", "neighbors"), ("--sampling", "sampling"))
        if (found := ctx.get_parameter_source(parameter)) and found.name == "COMMANDLINE"
    ]
    chosen_device = resolve_device(device)
    budget = memory_bytes(memory)
    asked = Asked(space, layers, per_slot, eigenvectors, solver, nodes, neighbors, sampling, gamma, seed)
    plan = _plan(frame, source or [], name, asked, sampled_options, chosen_device.type)
    if plan.need() > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"this cut holds {format_bytes(plan.need())}, --memory allows {format_bytes(budget)}",
            "Give more --memory, or use --solver nystrom with fewer --nodes",
        )
    if dry_run:
        _print_dry_run(frame, plan)
        return
    header, made = _make(frame, plan, chosen_device, budget, overwrite)
    frame.output.result(
        str(frame.project.path("cut", header.name)),
        {"schema": "alignedcut.cut/1", **frame.artifact_object(header, made=made)},
    )


@dataclass(frozen=True)
class Asked:
    """The options that shape a cut, as they were given."""

    space: str
    layers: str
    per_slot: bool
    eigenvectors: int
    solver: str
    nodes: int | None
    neighbors: int
    sampling: str
    gamma: float
    seed: int


def _plan(
    frame: Frame, sources: Sequence[str], name: str | None, asked: Asked, sampled_options: Sequence[str], kind: str
) -> Plan:
    names = [frame.project.parse(text, "features")[1] for text in sources] or [frame.project.only("features")]
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise UsageError("input-twice", f"--from names {twice} twice", "Give each feature set once")
    inputs: list[Input] = []
    parents: list[Header] = []
    slots: list[Slot] = []
    for number, one in enumerate(names):
        given, header = frame.project.input(f"features.{number}", "features", one)
        inputs.append(given)
        parents.append(header)
        slots += _slots(FeatureSet(frame.project.path("features", one)), asked.layers)
    _demand_same_images(names, parents)
    if not asked.per_slot:
        _demand_same_width(frame, slots)
    groups = tuple((slot,) for slot in slots) if asked.per_slot else (tuple(slots),)
    counts = tuple(sum(_count(slot) for slot in group) for group in groups)
    params = _resolve(asked, sampled_options, max(counts), kind)
    if asked.eigenvectors > min(counts):
        raise UsageError(
            "too-many-eigenvectors", f"--eigenvectors {asked.eigenvectors} of {min(counts)} nodes", "Ask for fewer"
        )
    chosen = name or "+".join(names) + ("-per-slot" if asked.per_slot else "")
    params["layers"] = [[slot.layer for slot in slots if slot.source.folder.name == one] for one in names]
    recipe = Recipe("cut", check_name(chosen), ALGORITHM, params, tuple(inputs))
    return Plan(recipe, tuple(parents), groups, parents[0].axes["B"]["images"], counts)


def _slots(features: FeatureSet, layers: str) -> list[Slot]:
    there = {slot["layer"]: slot for slot in features.slots}
    wanted = list(there) if layers == "all" else parse_layers(layers, max(there) + 1)
    for layer in wanted:
        if layer not in there:
            told = ", ".join(map(str, there))
            raise UsageError("bad-layers", f"{features.folder.name} has no layer {layer}", f"It has layers {told}")
    return [Slot(features, layer, dict(there[layer])) for layer in wanted]


def _count(slot: Slot) -> int:
    rows, columns = slot.about["grid"]
    return len(slot.source.images) * (rows * columns + slot.about["class_token"])


def _demand_same_images(names: Sequence[str], parents: Sequence[Header]) -> None:
    for name, header in zip(names[1:], parents[1:], strict=True):
        if header.raw["external"]["manifest"] != parents[0].raw["external"]["manifest"]:
            raise DataError(
                "other-images",
                f"features/{name} and features/{names[0]} were extracted from different images",
                "Extract both from the same images in the same order",
            )


def _demand_same_width(frame: Frame, slots: Sequence[Slot]) -> None:
    widths = sorted({slot.about["width"] for slot in slots})
    if len(widths) > 1:
        told = ", ".join(map(str, widths))
        raise UsageError(
            "not-comparable",
            f"these slots have {told} channels: in raw space their channels are not comparable",
            "Align them first, or give --per-slot for one cut a slot",
        )
    if len({slot.about["model"] for slot in slots}) > 1:
        frame.output.note("raw channels of different models do not correspond: read the colours model by model")


def _resolve(asked: Asked, sampled_options: Sequence[str], nodes: int, kind: str) -> dict[str, Any]:
    """The parameters with every `auto` resolved."""
    solver = asked.solver
    if solver == "auto":
        solver = "nystrom" if sampled_options or nodes > EXACT_NODES[kind] else "exact"
    if solver == "exact" and sampled_options:
        raise UsageError(
            "option-unused", f"--solver exact does not use {', '.join(sampled_options)}", "Leave it out, or use nystrom"
        )
    params: dict[str, Any] = {
        "space": asked.space,
        "per_slot": asked.per_slot,
        "eigenvectors": asked.eigenvectors,
        "solver": solver,
        "gamma": asked.gamma,
        "seed": asked.seed,
    }
    if solver == "nystrom":
        size = asked.nodes or min(nodes, NYSTROM_NODES[kind])
        if size < asked.eigenvectors:
            raise UsageError(
                "too-few-nodes", f"--nodes {size} for {asked.eigenvectors} eigenvectors", "Sample at least as many"
            )
        params |= {"nodes": size, "neighbors": asked.neighbors, "sampling": asked.sampling}
    return params


def _graph_bytes(nodes: int, width: int, params: Any) -> int:
    from alignedcut_cli.core.eigen import DEPTH
    from alignedcut_cli.core.ncut import EXTRA_BLOCK

    solved = min(nodes, params.get("nodes", nodes))
    pool = solved * (8 if params.get("sampling") == "fps" else 1)
    block = params["eigenvectors"] + EXTRA_BLOCK
    return 4 * (2 * min(pool, nodes) * width + 2 * solved * block * (DEPTH + 2) + nodes * (params["eigenvectors"] + 4))


def _print_dry_run(frame: Frame, plan: Plan) -> None:
    nodes, count = sum(plan.nodes), plan.recipe.params["eigenvectors"]
    described = DryRun(
        [f"{given.kind}/{given.name}" for given in plan.recipe.inputs],
        [(str(frame.project.path("cut", plan.recipe.name)), nodes * (4 * count + 16))],
        plan.need(),
    )
    frame.output.result(described.text(), described.as_object())


def _make(frame: Frame, plan: Plan, device: torch.device, budget: int, overwrite: bool) -> tuple[Header, bool]:
    import torch

    recipe = plan.recipe
    with frame.project.writing("cut", recipe.name):
        found = frame.existing(recipe, overwrite)
        if found:
            frame.say_up_to_date(found)
            return found, False
        frame.journal.note("start", "cut", recipe.name, frame.argv, recipe=recipe.identity)
        solver = recipe.params["solver"]
        frame.output.detail(f"{solver} on {device}: {len(plan.groups)} graph(s) of {max(plan.nodes)} nodes")
        with frame.output.progress("cutting", len(plan.groups), "graphs") as advance:
            cuts = []
            for number, group in enumerate(plan.groups):
                cuts.append(_cut(frame, group, recipe.params, number, device, budget))
                advance(1)
        tensors, meanings = _tensors(plan, cuts)
        numerics = {"torch": torch.__version__, "device": device.type, "computed": "float32"}
        header = write_artifact(
            frame.project.path("cut", recipe.name),
            recipe,
            tensors,
            meanings,
            axes=_axes(plan, tensors),
            numerics=numerics,
            parents=plan.parents,
        )
        frame.journal.note("done", "cut", recipe.name, frame.argv, recipe=header.recipe)
        return header, True


def _cut(frame: Frame, group: Sequence[Slot], params: Any, number: int, device: torch.device, budget: int) -> Cut:
    """The cut of one graph, on the CPU."""
    import torch

    from alignedcut_cli.core.affinity import tile_rows
    from alignedcut_cli.core.ncut import Cut, ncut_exact, ncut_nystrom
    from alignedcut_cli.core.numerics import halving, stream

    rows = NodeRows([block for slot in group for block in slot.blocks()])
    seed = stream(params["seed"], "cut", number)

    def read(start: int, stop: int) -> torch.Tensor:
        return torch.from_numpy(rows.rows(start, stop)).to(device).float()

    def solve(tile: int) -> Cut:
        if params["solver"] == "exact":
            return ncut_exact(read(0, len(rows)), params["eigenvectors"], gamma=params["gamma"], seed=seed, tile=tile)
        return ncut_nystrom(
            read,
            len(rows),
            params["eigenvectors"],
            nodes=params["nodes"],
            neighbors=params["neighbors"],
            sampling=params["sampling"],
            gamma=params["gamma"],
            seed=seed,
            tile=tile,
        )

    cut = halving(solve, tile_rows(budget // 4, device), frame.output.note, "tiles of")
    worst = float(cut.residuals.max())
    if worst > 1e-3:
        frame.output.note(f"graph {number}: the largest residual is {worst:.1e}; its eigenvectors are rough")
    return Cut(cut.eigenvectors.cpu(), cut.eigenvalues.cpu(), cut.residuals.cpu(), cut.sampled.cpu())


def _tensors(plan: Plan, cuts: Sequence[Cut]) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    import numpy as np

    offsets = np.cumsum([0, *plan.nodes])
    tensors = {
        "eigenvectors": np.concatenate([cut.eigenvectors.numpy() for cut in cuts]),
        "eigenvalues": np.stack([cut.eigenvalues.numpy() for cut in cuts]),
        "residuals": np.stack([cut.residuals.numpy() for cut in cuts]),
        "nodes": np.concatenate(
            [node_table(slot.about, number, len(plan.images)) for number, slot in enumerate(plan.slots)]
        ),
        "sampled": np.concatenate([cut.sampled.numpy() + offset for cut, offset in zip(cuts, offsets, strict=False)]),
        "graphs": np.stack([offsets[:-1], offsets[1:]], 1).astype(np.int64),
    }
    meanings = {
        "eigenvectors": ("M C", "top eigenvectors of D^-1/2 A D^-1/2, one row a node, largest eigenvalue first"),
        "eigenvalues": ("G C", "their eigenvalues, graph by graph"),
        "residuals": ("G C", "|N x - lambda x| on the solved graph"),
        "nodes": ("M T", "image, slot, row, col of each node; row = col = -1 for the class token"),
        "sampled": ("m", "the nodes whose graph was solved; the others took Eq. 4"),
        "graphs": ("G R", "the nodes of each graph: start, stop"),
    }
    return tensors, meanings


def node_table(slot: dict[str, Any], number: int, images: int) -> np.ndarray:
    """(image, slot, row, col) of the nodes of one slot, image by image: (images * P, 4) int32."""
    import numpy as np

    rows, columns = slot["grid"]
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    places = np.array(([(-1, -1)] if slot["class_token"] else []) + cells, np.int32)  # (P, 2)
    image = np.repeat(np.arange(images, dtype=np.int32), len(places))[:, None]
    return np.hstack([image, np.full_like(image, number), np.tile(places, (images, 1))])


def _axes(plan: Plan, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        "M": {"size": len(tensors["nodes"])},
        "C": {"size": plan.recipe.params["eigenvectors"]},
        "G": {
            "size": len(plan.groups),
            "graphs": "one a slot" if plan.recipe.params["per_slot"] else "one for all slots",
        },
        "m": {"size": len(tensors["sampled"])},
        "T": {"size": 4, "labels": ["image", "slot", "row", "col"]},
        "R": {"size": 2, "labels": ["start", "stop"]},
        "B": {"size": len(plan.images), "images": list(plan.images)},
        "S": {"size": len(plan.slots), "slots": [slot.about for slot in plan.slots]},
    }
