"""The choice of solver and its parameters: every `auto` resolved, with the reason, and the cost of exact products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.pace import format_seconds

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.commands.cut.asked import Asked
    from alignedcut_cli.nodes.rows import GraphRows

__all__ = [
    "BALANCES",
    "EXACT_NODES",
    "NYSTROM_NODES",
    "PRECISION_CHOICES",
    "SOLVERS",
    "choose_solver",
    "measure_solvers",
    "require_affordable",
    "solver_params",
]

SOLVERS = ("auto", "exact", "lowrank", "nystrom")
BALANCES = ("none", "voronoi")
PRECISION_CHOICES = ("auto", "float32")
EXACT_NODES = {"cpu": 5_000, "mps": 10_000, "cuda": 50_000}
NYSTROM_NEIGHBORS = 100
NYSTROM_NODES = {"cpu": 10_000, "mps": 20_000, "cuda": 50_000}
USES = {
    "exact": {"--balance"},
    "lowrank": {"--nodes", "--sampling", "--precision", "--balance", "--refine", "--bootstrap"},
    "nystrom": {"--nodes", "--sampling", "--neighbors"},
}
SAMPLE, SAMPLE_COUNT = 3_000, 10
LONGEST_HOURS = 24
PRODUCTS = 12


def choose_solver(asked: Asked, nodes: int, device: torch.device) -> tuple[str | None, str]:
    """The solver for graphs of up to `nodes` nodes and the reason in one line; None if neither size nor options decide."""
    if asked.solver != "auto":
        return asked.solver, "as asked"
    if "--neighbors" in asked.explicit:
        return "nystrom", "--neighbors is given"
    if asked.explicit & (USES["lowrank"] - USES["exact"]):
        return "lowrank", f"{', '.join(sorted(asked.explicit & (USES['lowrank'] - USES['exact'])))} given"
    if nodes <= EXACT_NODES[device.type]:
        return "exact", f"{nodes} nodes are at most {EXACT_NODES[device.type]}"
    if asked.balance != "none":
        return "lowrank", "nystrom cannot balance"
    return None, ""


def solver_params(asked: Asked, solver: str, nodes: int, device: torch.device) -> dict[str, Any]:
    """The parameters of a solver for graphs of up to `nodes` nodes, every `auto` resolved.

    Raises UsageError for options that the solver does not use, or that contradict each other.
    """
    _require_used(asked, solver)
    params: dict[str, Any] = {
        "per_slot": asked.per_slot,
        "eigenvectors": asked.eigenvectors,
        "solver": solver,
        "gamma": asked.gamma,
        "seed": asked.seed,
    }
    if asked.balance != "none":
        params["balance"] = asked.balance
    if asked.bootstrap:
        params["bootstrap"] = asked.bootstrap
    if solver == "lowrank" or params.get("balance"):
        params |= _landmark_params(asked, solver, nodes)
    if solver == "nystrom":
        size = asked.nodes or min(nodes, NYSTROM_NODES[device.type])
        params |= {
            "nodes": size,
            "neighbors": asked.neighbors or NYSTROM_NEIGHBORS,
            "sampling": asked.sampling or "uniform",
        }
    if params.get("nodes", asked.eigenvectors) < asked.eigenvectors:
        raise UsageError(
            "too-few-nodes",
            f"--nodes {params['nodes']} for {asked.eigenvectors} eigenvectors",
            "Sample at least as many",
        )
    return params


def measure_solvers(asked: Asked, rows: GraphRows) -> tuple[str, str]:
    """The more accurate of lowrank and nystrom on a sample of the largest graph, solved exactly, and the reason."""
    from alignedcut_cli.core.graph.choose_solver import sample_errors
    from alignedcut_cli.core.numerics import stream

    size = min(SAMPLE, len(rows))
    errors = sample_errors(
        rows.take,
        len(rows),
        size,
        count=min(SAMPLE_COUNT, asked.eigenvectors),
        gamma=asked.gamma,
        neighbors=asked.neighbors or NYSTROM_NEIGHBORS,
        seed=stream(asked.seed, "choose"),
    )
    best = min(errors, key=lambda solver: errors[solver])
    told = ", ".join(f"{solver} {error:.3f}" for solver, error in errors.items())
    return best, f"error against the exact cut of {size} nodes at gamma {asked.gamma:g}: {told}"


def _require_used(asked: Asked, solver: str) -> None:
    unused = sorted(option for option in asked.explicit & set().union(*USES.values()) if option not in USES[solver])
    if solver == "exact" and asked.balance != "none":
        unused = [option for option in unused if option not in ("--nodes", "--sampling")]
    if unused:
        able = [name for name, used in USES.items() if used.issuperset(unused)]
        remedy = f"Leave it out, or use {' or '.join(able)}" if able else "Leave it out"
        raise UsageError("option-unused", f"--solver {solver} does not use {', '.join(unused)}", remedy)
    if solver == "nystrom" and asked.sampling == "means":
        raise UsageError(
            "option-contradicts",
            "--solver nystrom with --sampling means: Eq. 4 solves the graph of nodes, and means are none",
            "Give uniform or fps, or use lowrank",
        )
    if asked.balance == "voronoi" and asked.sampling in ("means", "uniform"):
        raise UsageError(
            "option-contradicts",
            f"--balance voronoi with --sampling {asked.sampling}: around uniformly drawn nodes all cells are of one size",
            "Leave --sampling out: cells then lie around farthest points",
        )


def _landmark_params(asked: Asked, solver: str, nodes: int) -> dict[str, Any]:
    """Landmarks and precision of lowrank; for the exact solver, the centres of its Voronoi cells."""
    from alignedcut_cli.core.graph.lowrank import landmark_count

    found: dict[str, Any] = {
        "nodes": asked.nodes or landmark_count(nodes),
        "sampling": asked.sampling or ("fps" if asked.balance == "voronoi" else "means"),
    }
    return found | ({"precision": asked.precision, "refine": asked.refine} if solver == "lowrank" else {})


def require_affordable(params: Any, nodes: int, width: int, device: torch.device) -> str | None:
    """The estimated time of the exact products of a plan, in words; None if there are none or they take seconds.

    Raises UsageError for more than a day of them, with the estimate: M^2 (D + 2 C) floating-point operations each, at
    the speed of a float32 product on this machine.
    """
    products = PRODUCTS if params["solver"] == "exact" else params.get("refine", 0) + bool(params.get("refine", 0))
    work = products * nodes**2 * (width + 2 * params["eigenvectors"])
    if work < 1e12:
        return None
    from alignedcut_cli.core.graph.quantised_cosines import product_speed

    seconds = work / product_speed(device)
    told = f"{products} exact products over {nodes} nodes, {work:.1e} operations: about {format_seconds(seconds)}"
    if seconds > LONGEST_HOURS * 3600:
        raise UsageError(
            "too-long",
            f"{told}, more than {LONGEST_HOURS} hours",
            "Use --solver lowrank" + ("" if params["solver"] == "exact" else " without --refine") + ", or a GPU",
        )
    return told
