"""`alignedcut trace`: a joint cut in, the paths of pixels over layers and the concepts that they pass out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignedcut_cli.commands.trace.plan import Asked, Plan, make_plan
from alignedcut_cli.frame import options
from alignedcut_cli.frame.run import DryRun, Frame
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "trace"
EXAMPLES = (
    "alignedcut trace --from cut/tiny-clip --masks masks -p study",
    "alignedcut trace --from cut/tiny-clip --pixels 0:3:4 --pixels 0:8:8 --layers 2-5 --nodes 400 --name two -p study",
    "alignedcut trace --from cut/tiny-clip --nodes 400 --measure eigenvectors --name fine --json -p study",
)


def command(
    ctx: typer.Context,
    source: Annotated[
        str | None, typer.Option("--from", metavar="cut/NAME", help="The joint cut to trace.  [default: the only one]")
    ] = None,
    layers: Annotated[
        str, typer.Option("--layers", help="all, or a list such as 2,3,5-9, of each model; the map shows all.")
    ] = "all",
    eigenvectors: Annotated[
        int, typer.Option("--eigenvectors", "-C", min=1, help="How many of the top ones to use.")
    ] = 20,
    dims: Annotated[int, typer.Option("--dims", min=2, max=3, help="Dimensions of the map.")] = 2,
    nodes: Annotated[int, typer.Option("--nodes", min=5, help="Nodes that t-SNE places.")] = 3000,
    perplexity: Annotated[float, typer.Option("--perplexity", min=1.0, help="t-SNE's perplexity.")] = 30.0,
    measure: Annotated[
        str,
        typer.Option(
            "--measure", help="Where concepts and lengths are measured: the map (the t-SNE), or eigenvectors."
        ),
    ] = "map",
    pixels: Annotated[
        list[str] | None,
        typer.Option(
            "--pixels",
            metavar="N|FILE|IMAGE:ROW:COL",
            help="Pixels to follow: how many, or which (in cells of the grid). May be repeated.  [default: 10]",
        ),
    ] = None,
    concepts: Annotated[int, typer.Option("--concepts", min=2, help="Concepts of each layer.")] = 5,
    radius: Annotated[
        str, typer.Option("--radius", help="Of a concept's ball; auto: per layer, as large as no two overlap.")
    ] = "auto",
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks", metavar="DIR", help="PNGs of class ids, one an image: foreground and background apart."
        ),
    ] = None,
    background: Annotated[int, typer.Option("--background", min=0, help="masks: the class that is background.")] = 0,
    ignore: Annotated[int, typer.Option("--ignore", min=0, help="masks: the class that is neither (void).")] = 255,
    permutations: Annotated[
        int, typer.Option("--permutations", min=1, help="masks: random permutations behind each p-value.")
    ] = 999,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Where the photographs lie.  [default: where extract read them]"),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw the PNGs and write the tables.")
    ] = True,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="[default: the cut's name]")] = None,
    project: options.Project = Path(),
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Follow patches from layer to layer through one map of all models and layers (paper, Sec. 3.4).

    The map is the 2-D spectral t-SNE of a joint cut. In each layer, concepts are farthest-point centres and the
    patches in the ball around each, in that map: in several balls, of the nearest centre; in no ball, of "none", which
    counts as a place to go to. Transition probabilities say where the patches of a concept are in the next layer. With
    --masks, foreground and background are counted apart: they part where their transitions differ (total variation, at
    the same place of the same image; p-value by permuting masks between images).
    """
    frame = Frame.open(ctx, project, json=json, quiet=quiet, verbose=verbose)
    asked = Asked(
        source=source,
        layers=layers,
        eigenvectors=eigenvectors,
        dims=dims,
        nodes=nodes,
        perplexity=perplexity,
        measure=measure,
        pixels=tuple(pixels or ("10",)),
        concepts=concepts,
        radius=radius,
        masks=masks,
        background=background,
        ignore=ignore,
        permutations=permutations,
        seed=seed,
        name=name,
    )
    plan = make_plan(frame, asked)
    folder = frame.project.pictures("trace", plan.recipe.name)
    if dry_run:
        _print_dry_run(frame, plan, folder if pictures else None)
        return
    header, made = _make(frame, plan, overwrite)
    _tell(frame, header, made, _drawn(frame, header, images, folder) if pictures else [])


def _print_dry_run(frame: Frame, plan: Plan, folder: Path | None) -> None:
    recipe, total = plan.recipe, plan.parent.axes["M"]["size"]
    size = total * (4 * recipe.params["dims"] + 16 + 4 + (plan.labels is not None))
    outputs = [(str(frame.project.path("trace", recipe.name)), size), *([(f"{folder}/", 0)] if folder else [])]
    described = DryRun([f"cut/{plan.parent.name}"], outputs, plan.need())
    frame.output.result(described.text(), described.as_object())


def _make(frame: Frame, plan: Plan, overwrite: bool) -> tuple[Header, bool]:
    recipe = plan.recipe

    def made() -> Header:
        from alignedcut_cli.commands.trace.run import MEANINGS, axes_of, trace_tensors
        from alignedcut_cli.core.embed.colours import ITERATIONS

        _, cut = load_tensors(frame.project.path("cut", plan.parent.name))
        with frame.output.progress("placing nodes", sum(ITERATIONS), "iterations") as advance:
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

    return {"opentsne": version("opentsne"), "numpy": version("numpy"), "computed": "float64", "device": "cpu"}


def _drawn(frame: Frame, header: Header, images: Path | None, folder: Path) -> Sequence[Path]:
    from alignedcut_cli.commands.trace.pictures import draw_if_needed

    return draw_if_needed(frame, header, images, folder)


def _tell(frame: Frame, header: Header, made: bool, paths: Sequence[Path]) -> None:
    """The result; with masks, stderr and the JSON object say where each model's foreground and background part."""
    from alignedcut_cli.commands.trace.tables import bifurcations, parting_layers

    path = frame.project.path("trace", header.name)
    rows = bifurcations(header, load_tensors(path)[1]) if "p" in header.raw["tensors"] else []
    parts = parting_layers(rows)
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
        f"{row['matched']:.2f} (chance {row['matched.expected']:.2f}, p = {row['p.holm']:.3g} after Holm)"
    )
