"""`alignedcut cut`: feature sets in, the eigenvectors of their graph out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignedcut_cli import options
from alignedcut_cli.commands.cut_plan import Asked, Plan, make_plan
from alignedcut_cli.commands.cut_rows import GraphRows
from alignedcut_cli.commands.cut_slots import node_table
from alignedcut_cli.commands.cut_space import SPACES, open_transforms
from alignedcut_cli.commands.frame import DryRun, Frame, demand_choice
from alignedcut_cli.config import memory_bytes, resolve_device
from alignedcut_cli.errors import OutOfMemoryError, UsageError
from alignedcut_cli.output import format_bytes
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.core.ncut import Cut

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "cut"
SOLVERS = ("auto", "exact", "nystrom")
TYPED = ("--align", "--roi", "--nodes", "--neighbors", "--sampling")
EXAMPLES = (
    "alignedcut cut --from features/tiny-clip -p study",
    "alignedcut cut --from features/tiny-mae --per-slot --eigenvectors 12 --name mae-layers -p study",
    "alignedcut cut --from features/tiny-clip --solver nystrom --nodes 500 --sampling fps --name fast -p study",
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
        str,
        typer.Option("--space", help="Where nodes are compared: raw (a slot's own channels), aligned, or brain."),
    ] = "raw",
    align: Annotated[
        str | None,
        typer.Option(
            "--align", metavar="align/NAME", help="aligned, brain: whose transforms to use.  [default: the only one]"
        ),
    ] = None,
    roi: Annotated[
        str | None,
        typer.Option("--roi", metavar="V1,V4,…", help="brain: keep only the voxels of these areas."),
    ] = None,
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
    tokens of all images in the chosen slots; class tokens have row = col = -1 in the node table. In aligned space
    (V W) and brain space (V W beta) slots of all models and widths join in one graph; the transforms are applied to
    each tile as it is read, and nothing of it is stored.
    """
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose)
    demand_choice("--space", space, SPACES)
    demand_choice("--solver", solver, SOLVERS)
    demand_choice("--sampling", sampling, ("uniform", "fps"))
    if not 0 < gamma < float("inf"):
        raise UsageError("bad-gamma", f"--gamma {gamma} is not positive", "Give a number above 0, such as 0.3")
    chosen_device = resolve_device(device)
    budget = memory_bytes(memory)
    asked = Asked(
        sources=tuple(source or ()),
        space=space,
        align=align,
        roi=roi,
        layers=layers,
        per_slot=per_slot,
        eigenvectors=eigenvectors,
        solver=solver,
        nodes=nodes,
        neighbors=neighbors,
        sampling=sampling,
        gamma=gamma,
        seed=seed,
        name=name,
        typed=_typed(ctx),
    )
    plan = make_plan(frame, asked, chosen_device.type)
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


def _typed(ctx: typer.Context) -> frozenset[str]:
    """The options of TYPED that stand on the command line itself, and so were meant for this cut."""
    sources = {option: ctx.get_parameter_source(option.removeprefix("--")) for option in TYPED}
    return frozenset(option for option, source in sources.items() if source and source.name == "COMMANDLINE")


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
        tensors, meanings = _tensors(plan, _cuts(frame, plan, device, budget))
        header = write_artifact(
            frame.project.path("cut", recipe.name),
            recipe,
            tensors,
            meanings,
            axes=_axes(plan, tensors),
            numerics={"torch": torch.__version__, "device": device.type, "computed": "float32"},
            parents=plan.parents,
        )
        frame.journal.note("done", "cut", recipe.name, frame.argv, recipe=header.recipe)
        return header, True


def _cuts(frame: Frame, plan: Plan, device: torch.device, budget: int) -> list[Cut]:
    """The cut of every graph of a plan, on the CPU."""
    params = plan.recipe.params
    transform = open_transforms(plan.space)
    frame.output.detail(f"{params['solver']} on {device}: {len(plan.groups)} graph(s) of {max(plan.nodes)} nodes")
    cuts = []
    with frame.output.progress("cutting", len(plan.groups), "graphs") as advance:
        for number, group in enumerate(plan.groups):
            rows = GraphRows(group, [transform(slot) for slot in group], plan.space.name, device)
            cuts.append(_cut(frame, rows, params, number, device, budget))
            advance(1)
    return cuts


def _cut(frame: Frame, rows: GraphRows, params: Any, number: int, device: torch.device, budget: int) -> Cut:
    """The cut of one graph, on the CPU."""
    from alignedcut_cli.core.affinity import tile_rows
    from alignedcut_cli.core.ncut import Cut, ncut_exact, ncut_nystrom
    from alignedcut_cli.core.numerics import halving, stream

    total, seed = len(rows), stream(params["seed"], "cut", number)

    def solve(tile: int) -> Cut:
        if params["solver"] == "exact":
            return ncut_exact(rows.read(0, total), params["eigenvectors"], gamma=params["gamma"], seed=seed, tile=tile)
        return ncut_nystrom(
            rows.read,
            total,
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
