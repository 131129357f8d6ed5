"""`alignedcut cut`: feature sets in, the eigenvectors of their graph out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignedcut_cli.commands.cut.asked import Asked
from alignedcut_cli.commands.cut.onto import run_onto
from alignedcut_cli.commands.cut.plan import Plan, make_plan
from alignedcut_cli.commands.cut.run import certificates, cut_axes, cut_tensors, solve_graphs
from alignedcut_cli.commands.cut.solver import BALANCES, PRECISION_CHOICES, SOLVERS, demand_affordable
from alignedcut_cli.errors import OutOfMemoryError, UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import memory_bytes, resolve_device
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame, demand_choice, typed_options
from alignedcut_cli.nodes.spaces import SPACES
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import torch

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "cut"
SHAPING = ("--space", "--layers", "--per-slot", "--eigenvectors", "--solver", "--gamma", "--seed")
TYPED = ("--align", "--roi", "--nodes", "--neighbors", "--sampling", "--precision", "--refine", "--balance", *SHAPING)
EXAMPLES = (
    "alignedcut cut --from features/tiny-clip -p study",
    "alignedcut cut --from features/tiny-mae --per-slot --eigenvectors 12 --name mae-layers -p study",
    "alignedcut cut --from features/tiny-clip --solver lowrank --nodes 500 --refine 1 --name fine -p study",
    "alignedcut cut --from features/tiny-clip --solver nystrom --nodes 500 --sampling fps --name paper -p study",
    "alignedcut cut --from features/tiny-clip --onto cut/fine --name again -p study",
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
        typer.Option(
            "--solver",
            help="exact (Eq. 3), lowrank (a factor from landmarks), nystrom (Eq. 4), or auto: exact up to 5,000 nodes on "
            "a CPU, else the better of the two on a sample.",
        ),
    ] = "auto",
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            min=1,
            help="lowrank: landmarks; nystrom: nodes sampled and solved; --balance: cells.  [default: 1,024, in graphs of "
            "over 16,384 nodes 512; nystrom 10,000 on a CPU, 50,000 on CUDA]",
        ),
    ] = None,
    neighbors: Annotated[int, typer.Option("--neighbors", min=1, help="nystrom: K nearest sampled nodes.")] = 100,
    sampling: Annotated[
        str | None,
        typer.Option(
            "--sampling",
            help="Of those nodes: uniform, fps (farthest points of 8 times as many), or means (landmarks only: the mean "
            "of those of 8 times as many that are nearest to each).  [default: means; nystrom uniform; with --balance fps]",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="lowrank, large graphs: auto (bfloat16 or int8 cosines where they are faster and blur little) or float32.",
        ),
    ] = "auto",
    refine: Annotated[
        int, typer.Option("--refine", min=0, help="lowrank: exact products on top, each M^2 D operations.")
    ] = 0,
    balance: Annotated[
        str,
        typer.Option(
            "--balance", help="none, or voronoi: a node weighs 1 / the size of its cell, so that rare things count."
        ),
    ] = "none",
    gamma: Annotated[float, typer.Option("--gamma", help="Affinity exp((cos - 1) / gamma); smaller is sharper.")] = 1.0,
    name: Annotated[
        str | None, typer.Option("--name", help="The cut's name.  [default: from its inputs]", metavar="NAME")
    ] = None,
    onto: Annotated[
        str | None,
        typer.Option(
            "--onto",
            metavar="cut/NAME",
            help="Give new images' nodes rows of an existing lowrank cut: nothing is solved.",
        ),
    ] = None,
    project: options.Project = Path(),
    device: options.Device = "auto",
    memory: options.Memory = "50%",
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    verify: options.Verify = False,
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
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose, verify=verify)
    demand_choice("--space", space, SPACES)
    demand_choice("--solver", solver, SOLVERS)
    demand_choice("--sampling", sampling or "means", ("means", "uniform", "fps"))
    demand_choice("--precision", precision, PRECISION_CHOICES)
    demand_choice("--balance", balance, BALANCES)
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
        precision=precision,
        refine=refine,
        balance=balance,
        gamma=gamma,
        seed=seed,
        name=name,
        typed=typed_options(ctx, TYPED),
    )
    if onto is not None:
        run_onto(frame, asked, onto, chosen_device, overwrite, dry_run)
        return
    plan = make_plan(frame, asked, chosen_device)
    cost = demand_affordable(plan.recipe.params, max(plan.nodes), plan.space.width(plan.slots[0]), chosen_device)
    if plan.need() > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"this cut holds {format_bytes(plan.need())}, --memory allows {format_bytes(budget)}",
            "Give more --memory, or use --solver lowrank or nystrom with fewer --nodes",
        )
    if dry_run:
        _print_dry_run(frame, plan, cost)
        return
    if cost:
        frame.output.note(cost)
    header, made = _make(frame, plan, chosen_device, budget, overwrite)
    frame.output.result(
        str(frame.project.path("cut", header.name)),
        {
            "schema": "alignedcut.cut/1",
            **frame.artifact_object(header, made=made),
            "solver": header.params["solver"],
            "certificates": header.raw.get("certificates", []),
        },
    )


def _print_dry_run(frame: Frame, plan: Plan, cost: str | None) -> None:
    frame.output.detail(f"solver {plan.recipe.params['solver']}: {plan.why}")
    if cost:
        frame.output.note(cost)
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

    def made() -> Header:
        solved = solve_graphs(frame, plan, device, budget)
        tensors, meanings = cut_tensors(plan, solved)
        return write_artifact(
            frame.project.path("cut", recipe.name),
            recipe,
            tensors,
            meanings,
            axes=cut_axes(plan, tensors),
            numerics={
                "torch": torch.__version__,
                "device": device.type,
                "computed": "; ".join(dict.fromkeys(one.computed for one in solved)),
            },
            parents=plan.parents,
            certificates=certificates(solved),
        )

    return frame.make_once(recipe, overwrite, made)
