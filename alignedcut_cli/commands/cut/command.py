"""`alignedcut cut`: from feature sets to the eigenvectors of their graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from alignedcut_cli.commands.cut.asked import Asked
from alignedcut_cli.commands.cut.export import EXPORTS
from alignedcut_cli.commands.cut.onto import OF_THE_BASE, require_unshaped
from alignedcut_cli.commands.cut.solver import BALANCES, PRECISION_CHOICES, SOLVERS, require_affordable
from alignedcut_cli.errors import OutOfMemoryError, UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import memory_bytes, resolve_device
from alignedcut_cli.frame.output import format_bytes
from alignedcut_cli.frame.run import DryRun, Frame, require_choice
from alignedcut_cli.frame.stability import stability_lines
from alignedcut_cli.frame.sweeps import Sweep, make_shard, run_sweeps
from alignedcut_cli.nodes.spaces import SPACES
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.commands.cut.plan import Plan
    from alignedcut_cli.commands.cut.run import Solved
    from alignedcut_cli.commands.cut.tasks import Cutting

__all__ = ["BEFORE", "EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "cut"
Counts = Sequence[tuple[str, str, int]]
OF_GRAPHS = (
    "--heads",
    "--scope",
    "--layer-weights",
    "--neighbors-across",
    "--threshold",
    "--epochs",
    "--batch",
    "--images",
    "--pictures",
)
EXAMPLES = (
    "alignedcut cut --from features/tiny-clip -p study",
    "alignedcut cut --from features/tiny-mae --per-slot --eigenvectors 12 --name mae-layers -p study",
    "alignedcut cut --from features/tiny-clip --solver lowrank --nodes 500 --refine 1 --name fine -p study",
    "alignedcut cut --from features/tiny-clip --solver nystrom --nodes 500 --sampling fps --name paper -p study",
    "alignedcut cut --from features/tiny-clip --onto cut/fine --name again -p study",
    "alignedcut cut --from features/tiny-clip -C 10 --nodes 300 --bootstrap 100 --name sure -p study",
    "alignedcut cut --graph vv --from features/tiny-clip-v -p study",
    "alignedcut cut --graph qk --from features/tiny-clip-q --per-slot --neighbors 20 --threshold 0.2 -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip --model tiny-mae -p study",
    "alignedcut extract photos/ --model tiny-clip --tap q --tap k --tap v -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Cut the graph of all patches with normalized cut: the top eigenvectors, one row per node.

    Affinity A_ij = exp((cos(v_i, v_j) - 1) / gamma); eigenvectors of D^-1/2 A D^-1/2 (paper, Eq. 3). Nodes are all
    tokens of all images in the chosen slots; class tokens have row = col = -1 in the node table. In aligned space
    (V W) and brain space (V W beta) slots of all models and widths join in one graph; the transforms are applied tile by
    tile as features are read, without storing the result.

    With --graph vv, kk, qk or attn every layer gives a graph over the same places (image, row, col), of values, keys or
    queries, and the eigenvectors are those of the mean of all D^-1/2 A D^-1/2: the groups that best satisfy the
    normalized cuts of all layers at once (Zhang, Yunis and Maire 2023). A place without neighbours in a layer has no
    influence there. Feature sets of the other taps are found by recipe. The graph of a layer that is finished is kept when
    the command is interrupted. The direct solver gives the optimum of the relaxed problem, with its residuals; --solver
    gradient is the paper's descent, from mini-batches, and stores its losses. --onto such a cut embeds new images by their
    edges to its places (Nystrom), then within their own images.

    With --bootstrap R the images are resampled R times, with the degrees of the whole sample. An eigenvector is stable if
    its mean cosine with the span of a replicate's C eigenvectors is at least .9, and so are all before it; a node is
    uncertain if its row moves far between replicates.
    """
    from alignedcut_cli.commands.cut.embedding import run_onto
    from alignedcut_cli.commands.cut.graph_inputs import GRAPHS
    from alignedcut_cli.commands.cut.graph_onto import run_graphs_onto
    from alignedcut_cli.commands.cut.graph_plan import GRAPH_SOLVERS
    from alignedcut_cli.commands.cut.graph_run import run_graphs
    from alignedcut_cli.commands.cut.plan import make_plan
    from alignedcut_cli.commands.cut.sweeps import require_sweeps
    from alignedcut_cli.commands.cut.tasks import Cutting

    require_choice("--graph", asked.graph, ("features", *GRAPHS))
    require_choice("--space", asked.space, SPACES)
    require_choice("--solver", asked.solver, SOLVERS if asked.graph == "features" else GRAPH_SOLVERS)
    require_choice("--sampling", asked.sampling or "means", ("means", "uniform", "fps"))
    require_choice("--precision", asked.precision, PRECISION_CHOICES)
    require_choice("--balance", asked.balance, BALANCES)
    if not 0 < asked.gamma < float("inf"):
        raise UsageError("bad-gamma", f"--gamma {asked.gamma} is not positive", "Give a number above 0, such as 0.3")
    device, budget = resolve_device(asked.device, asked.cluster), memory_bytes(asked.memory)
    if asked.onto is not None:
        require_unshaped(asked, OF_THE_BASE)
        if frame.project.header("cut", frame.project.parse(asked.onto, "cut")[1]).params.get("graph"):
            _require_alone(asked)
            run_graphs_onto(frame, asked, asked.onto, budget)
        else:
            run_onto(frame, asked, asked.onto, device)
        return
    if asked.graph != "features":
        run_graphs(frame, asked, device, budget)
        return
    _require_features(asked)
    plan = make_plan(frame, asked, device)
    shared = bool(asked.cluster or asked.shard)
    if shared:
        require_sweeps(plan)
    cost = require_affordable(plan.recipe.params, max(plan.nodes), plan.space.width(plan.slots[0]), device)
    need = plan.need_of_merging() if shared else plan.need()
    if need > budget:
        raise OutOfMemoryError(
            "memory-budget",
            f"this cut holds {format_bytes(need)}, --memory allows {format_bytes(budget)}",
            "Give more --memory, or use --solver lowrank or nystrom with fewer --nodes",
        )
    cutting = Cutting(frame, plan, device)
    if asked.dry_run:
        _print_dry_run(frame, plan, cost, need, _counts(asked, plan, cutting) if shared else ())
        return
    if cost:
        frame.output.note(cost)
    if asked.shard:
        frame.output.result(*make_shard(frame, plan.recipe, asked.shard, lambda: _opened(cutting)))
        return
    header, made = _make(frame, plan, replace(asked, solver=plan.recipe.params["solver"]), device, budget, cutting)
    _finish(frame, header, made, asked)


def _finish(frame: Frame, header: Header, made: bool, asked: Asked) -> None:
    """Report what is stable, draw it, if asked to, and print the result."""
    from alignedcut_cli.commands.cut.stability_pictures import draw_stability

    lines = [str(frame.project.path("cut", header.name))]
    value = {
        "schema": "alignedcut.cut/1",
        **frame.artifact_object(header, made=made),
        "solver": header.params["solver"],
        "certificates": header.raw.get("certificates", []),
    }
    if asked.bootstrap:
        value["stability"] = header.raw["stability"]
        for line in stability_lines(header):
            frame.output.note(line)
        if asked.pictures:
            value["pictures"] = str(draw_stability(frame, header, asked.images))
            lines.append(value["pictures"])
    frame.output.result("\n".join(lines), value)


def _require_alone(asked: Asked) -> None:
    """Raise UsageError where an embedding onto a cut of graphs was to be shared."""
    if asked.cluster or asked.shard:
        raise UsageError(
            "no-shards",
            f"--cluster and --shard share no work of an embedding onto {asked.onto}, which is of graphs",
            "Leave them out",
        )


def _require_features(asked: Asked) -> None:
    """Raise UsageError for options given explicitly that apply only to graphs of q, k and v."""
    from alignedcut_cli.commands.cut.graph_inputs import GRAPHS

    drawn = ("--images", "--pictures") if asked.bootstrap else ()
    unused = [option for option in OF_GRAPHS if option in asked.explicit and option not in drawn]
    if unused:
        raise UsageError(
            "option-unused", f"--graph features does not use {', '.join(unused)}", f"Give --graph {', '.join(GRAPHS)}"
        )


def _print_dry_run(frame: Frame, plan: Plan, cost: str | None, need: int, counts: Counts) -> None:
    frame.output.detail(f"solver {plan.recipe.params['solver']}: {plan.why}")
    if cost:
        frame.output.note(cost)
    nodes, count = sum(plan.nodes), plan.recipe.params["eigenvectors"]
    replicates = plan.recipe.params.get("bootstrap", 0)
    described = DryRun(
        [f"{given.kind}/{given.name}" for given in plan.recipe.inputs],
        [(str(frame.project.path("cut", plan.recipe.name)), nodes * (4 * count + 16 + 4 * bool(replicates)))],
        need,
        counts,
    )
    frame.dry_run(described)


def _counts(asked: Asked, plan: Plan, cutting: Cutting) -> Counts:
    """What --dry-run tells of shared work."""
    from alignedcut_cli.commands.cut.sweeps import cut_sweeps
    from alignedcut_cli.frame.cluster_costs import shared_counts

    streamed = sum(plan.nodes[graph] for graph in cutting.streamed)
    read = plan.feature_bytes() * (2 if cutting.is_balanced else 1) + 2 * plan.projected_bytes(streamed)
    most = max((stop - start for _, start, stop in cutting.ranges), default=0)
    return shared_counts(asked, NAME, cut_sweeps(cutting), read=read, memory=plan.need_of_a_task(most))


def _opened(cutting: Cutting) -> list[Sweep]:
    """The sweeps, with a folder for their parts."""
    from alignedcut_cli.commands.cut.sweeps import cut_sweeps

    cutting.parts.open()
    return cut_sweeps(cutting)


def _solved(
    frame: Frame, plan: Plan, asked: Asked, device: torch.device, budget: int, cutting: Cutting
) -> list[Solved]:
    """The cuts: by parts on a cluster, or where jobs have left some; else held in memory."""
    from alignedcut_cli.commands.cut.run import solve_graphs, tell_cut, tell_plan

    if not (asked.cluster or cutting.parts.begun):
        return solve_graphs(frame, plan, device, budget)
    tell_plan(frame, plan, device)
    run_sweeps(frame, asked, _opened(cutting))
    solved = cutting.solved()
    for number, one in enumerate(solved):
        tell_cut(frame, number, one, plan.recipe.params)
    return solved


def _make(
    frame: Frame, plan: Plan, asked: Asked, device: torch.device, budget: int, cutting: Cutting
) -> tuple[Header, bool]:
    import torch

    from alignedcut_cli.commands.cut.run import certificates, cut_axes, cut_tensors
    from alignedcut_cli.commands.cut.stability import stability_summary

    recipe = plan.recipe

    def made() -> Header:
        solved = _solved(frame, plan, asked, device, budget, cutting)
        tensors, meanings = cut_tensors(plan, solved)
        pairs = [(one.cut, one.stability) for one in solved if one.stability]
        header = write_artifact(
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
            **({"stability": stability_summary(pairs)} if pairs else {}),
        )
        if cutting.parts.begun:
            cutting.parts.drop()
        return header

    return frame.make_once(recipe, asked.overwrite, made)
