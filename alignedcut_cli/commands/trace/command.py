"""`alignedcut trace`: from a joint cut to the paths of pixels over layers and the concepts on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.trace.asked import Asked
from alignedcut_cli.commands.trace.export import EXPORTS
from alignedcut_cli.commands.trace.plan import Plan, make_plan
from alignedcut_cli.frame import options
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BEFORE", "EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "trace"
EXAMPLES = (
    "alignedcut trace --from cut/tiny-clip --masks masks -p study",
    "alignedcut trace --from cut/tiny-clip --pixels 0:3:4 --pixels 0:8:8 --layers 2-5 --nodes 400 --name two -p study",
    "alignedcut trace --from cut/tiny-clip --nodes 400 --measure map --name paper --json -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip -p study",
    "alignedcut cut --from features/tiny-clip -p study",
)


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Follow patches from layer to layer through one map of all models and layers (paper, Sec. 3.4).

    The map that is drawn is the 2-D spectral t-SNE of a joint cut. In each layer, concepts are the cells of a partition of
    its patches' eigenvectors; with --measure map, as in the paper, balls around farthest-point centres of the t-SNE, where
    a patch in no ball is in "none". Transition probabilities say where the patches of a concept are in the next layer. With
    --masks, foreground and background are counted apart: they diverge where their transitions differ (total variation, at
    the same place of the same image, and given where in the eigenvectors a patch lies before). One p-value for --maps
    partitions or t-SNEs together, by permuting masks between images; the first map is the one that is drawn.
    """
    plan = make_plan(frame, asked)
    folder = frame.project.pictures("trace", plan.recipe.name)
    if asked.dry_run:
        _print_dry_run(frame, plan, folder if asked.pictures else None)
        return
    header, made = _make(frame, plan, asked.overwrite)
    _tell(frame, header, made, _drawn(frame, header, asked.images, folder) if asked.pictures else [])


def _print_dry_run(frame: Frame, plan: Plan, folder: Path | None) -> None:
    recipe, total = plan.recipe, plan.parent.axes["M"]["size"]
    size = total * (4 * recipe.params["dims"] + 16 + 4 + (plan.labels is not None))
    outputs = [(str(frame.project.path("trace", recipe.name)), size), *([(f"{folder}/", 0)] if folder else [])]
    described = DryRun([f"cut/{plan.parent.name}"], outputs, plan.need())
    frame.dry_run(described)


def _make(frame: Frame, plan: Plan, overwrite: bool) -> tuple[Header, bool]:
    recipe = plan.recipe

    def made() -> Header:
        from alignedcut_cli.commands.trace.run import MEANINGS, axes_of, trace_tensors
        from alignedcut_cli.core.embed.colours import ITERATIONS

        _, cut = load_tensors(frame.project.path("cut", plan.parent.name))
        maps = plan.recipe.params["maps"] if plan.recipe.params["measure"] == "map" else 1
        with frame.output.progress("placing nodes", maps * sum(ITERATIONS), "iterations") as advance:
            tensors = trace_tensors(plan, cut, advance)
        return write_artifact(
            frame.project.path("trace", recipe.name),
            recipe,
            tensors,
            {tensor: MEANINGS[tensor] for tensor in tensors},
            axes=axes_of(plan, tensors),
            numerics=_numerics(),
            parents=(plan.parent,),
        )

    return frame.make_once(recipe, overwrite, made)


def _numerics() -> dict[str, str]:
    from importlib.metadata import version

    used = {name: version(name) for name in ("numba", "numpy", "torch")}
    return {**used, "computed": "float32 map, float64 statistics", "device": "cpu"}


def _drawn(frame: Frame, header: Header, images: Path | None, folder: Path) -> Sequence[Path]:
    from alignedcut_cli.commands.trace.pictures import draw_if_needed

    return draw_if_needed(frame, header, images, folder)


def _tell(frame: Frame, header: Header, made: bool, paths: Sequence[Path]) -> None:
    """The result; with masks, stderr and the JSON object say where each model's foreground and background diverge."""
    from alignedcut_cli.commands.trace.tables import bifurcations, diverging_layers

    path = frame.project.path("trace", header.name)
    rows = bifurcations(header, load_tensors(path)[1]) if "p" in header.raw["tensors"] else []
    parts = diverging_layers(rows)
    for model, row in parts.items():
        frame.output.note(f"{model}: {_sentence(row)}")
    result: dict[str, Any] = {"schema": "alignedcut.trace/1", **frame.artifact_object(header, made=made)}
    result |= {"bifurcation": rows, "parts": parts, "pictures": [str(one) for one in paths if one.suffix == ".png"]}
    result["tables"] = [str(one) for one in paths if one.suffix == ".csv"]
    lines = [str(path), *([str(paths[0].parent)] if paths else [])]
    frame.output.result("\n".join(lines), result)


def _sentence(row: dict[str, Any] | None) -> str:
    if row is None:
        return "foreground and background part between no two layers (p >= 0.05 after Holm)"
    return (
        f"foreground and background part most from layer {row['from']} to {row['to']}: total variation "
        f"{row['matched']:.2f} (chance {row['matched.expected']:.2f}, p = {row['p.holm']:.3g} after Holm; by map "
        f"{row['matched.least']:.2f} to {row['matched.most']:.2f})"
    )
