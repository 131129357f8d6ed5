"""`alignedcut color`: from a cut to a colour for every node, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.color.asked import Asked
from alignedcut_cli.commands.color.export import EXPORTS
from alignedcut_cli.commands.color.onto import Base, colours_of, open_base
from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame import options
from alignedcut_cli.frame.config import resolve_device
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.pictures import draw_once, file_stem
from alignedcut_cli.frame.run import DryRun, Frame, require_choice
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Header, Recipe
from alignedcut_cli.store.project import check_name

if TYPE_CHECKING:
    import torch

__all__ = ["BEFORE", "EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "color"
ALGORITHM = 3
JOINT_NODES = 10_000
PER_SLOT_NODES = 1000
EXAMPLES = (
    "alignedcut color --from cut/tiny-clip -p study",
    "alignedcut color --from cut/tiny-clip --nodes 500 --dims 2 --name flat -p study",
    "alignedcut color --from cut/tiny-clip --upscale bilinear --overlay 0.3 -p study",
    "alignedcut color --from cut/tiny-clip --onto color/tiny-clip --name again -p study",
)
BEFORE = (
    "alignedcut extract photos/ --model tiny-clip -p study",
    "alignedcut cut --from features/tiny-clip -p study",
)
PLACING = ("--eigenvectors", "--dims", "--nodes", "--perplexity", "--device", "--seed")


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Colour every node by its place in a spectral t-SNE: the same colour means the same to the network.

    t-SNE places a sample of nodes by their top eigenvectors; every other node takes the place of its nearest one.
    Colours are one mapping for all images and slots of a joint cut, and one for each slot of a --per-slot cut. With
    --onto, nodes of a cut that was embedded onto another take the places and colours of that one's nodes. Pictures: for
    each image a row of its layers, and a contact sheet per model.
    """
    require_choice("--upscale", asked.upscale, ("nearest", "bilinear"))
    if asked.onto:
        _require_unused(asked)
    device = _resolve_device(asked.device)
    cut = frame.project.parse(asked.source, "cut")[1] if asked.source else frame.project.only("cut")
    given, parent = frame.project.input("cut", "cut", cut)
    base = open_base(frame.project, asked.onto, cut, parent) if asked.onto else None
    params = {
        "eigenvectors": min(asked.eigenvectors, parent.axes["C"]["size"]),
        "dims": asked.dims,
        "nodes": asked.nodes or (PER_SLOT_NODES if parent.params["per_slot"] else JOINT_NODES),
        "perplexity": asked.perplexity,
        "seed": asked.seed,
    }
    if base:
        params = {key: base.params[key] for key in ("eigenvectors", "dims")}
    inputs = (given, base.given) if base else (given,)
    recipe = Recipe("color", check_name(asked.name or cut), ALGORITHM, params, inputs)
    folder = frame.project.pictures("color", recipe.name)
    if asked.dry_run:
        total = parent.axes["M"]["size"]
        outputs = [(str(frame.project.path("color", recipe.name)), total * (3 + 4 * params["dims"] + 16))]
        described = DryRun(
            [f"{one.kind}/{one.name}" for one in inputs],
            [*outputs, *([(f"{folder}/", 0)] if asked.pictures else [])],
            _need(params, parent, base),
        )
        frame.dry_run(described)
        return
    header, made = _make(frame, recipe, parent, base, device, asked.overwrite)
    result = {"schema": "alignedcut.color/1", **frame.artifact_object(header, made=made)}
    lines = [str(frame.project.path("color", header.name))]
    if asked.pictures:
        _draw_if_needed(frame, header, asked, folder)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)


def _require_unused(asked: Asked) -> None:
    """Raise UsageError for options of t-SNE given with --onto, which runs no t-SNE."""
    unused = [option for option in PLACING if option in asked.explicit]
    if unused:
        raise UsageError(
            "option-unused", f"--onto does not use {', '.join(unused)}: they are the other coloring's", "Leave it out"
        )


def _resolve_device(text: str) -> torch.device:
    """The device of the exact repulsion: CUDA if available, else the CPU (MPS has no float64)."""
    import torch

    found = resolve_device(text)
    if found.type == "mps" and text != "auto":
        raise UsageError("bad-device", f"--device {text} has no float64, which color needs", "Give cpu")
    return torch.device("cpu") if found.type == "mps" else found


def _need(params: Any, parent: Header, base: Base | None) -> int:
    """Main memory in bytes: two copies of eigenvectors, coordinates, colours; affinities and neighbours of the sample."""
    counts = [parent.axes["M"]["size"], base.cut.axes["M"]["size"] if base else 0]
    rows = sum(counts) * 4 * (2 * parent.axes["C"]["size"] + params["dims"] + 8)
    if base:
        return rows + (16 << 20)
    return rows + min(params["nodes"], counts[0]) * int(3 * params["perplexity"]) * 4 * 12 + (16 << 20)


def _make(
    frame: Frame, recipe: Recipe, parent: Header, base: Base | None, device: torch.device, overwrite: bool
) -> tuple[Header, bool]:
    def made() -> Header:
        from alignedcut_cli.commands.color.place import numerics, place_graphs

        _, tensors = load_tensors(frame.project.path("cut", recipe.inputs[0].name))
        coloured = colours_of(frame.project, base, tensors) if base else place_graphs(frame, recipe, tensors, device)
        meanings = {
            "rgb": ("M Z", "red, green and blue of each node, 0 to 255"),
            "coordinates": ("M d", "place of each node in the spectral t-SNE of its graph"),
            "sampled": (
                "m",
                "the nodes that t-SNE placed here; the others took the place of their nearest one",
            ),
            "divergence": ("G", "Kullback-Leibler divergence of each graph's t-SNE"),
            "perplexity": ("G", "perplexity used for each graph"),
            "nodes": ("M T", "image, slot, row, col of each node; row = col = -1 for the class token"),
        }
        axes = {letter: parent.axes[letter] for letter in ("M", "G", "T", "B", "S")}
        axes |= {
            "Z": {"size": 3, "labels": ["red", "green", "blue"]},
            "d": {"size": recipe.params["dims"]},
            "m": {"size": len(coloured["sampled"])},
        }
        return write_artifact(
            frame.project.path("color", recipe.name),
            recipe,
            {**coloured, "nodes": tensors["nodes"]},
            meanings,
            axes=axes,
            numerics=numerics(device),
            parents=(parent, base.header) if base else (parent,),
        )

    return frame.make_once(recipe, overwrite, made)


def _draw_if_needed(frame: Frame, header: Header, asked: Asked, folder: Path) -> None:
    """Draw the pictures, unless they already show this content with these settings."""
    wanted = {
        "content": header.content,
        "upscale": asked.upscale,
        "overlay": asked.overlay,
        "images": str(asked.images),
    }
    draw_once(frame.project, header, wanted, lambda: _draw(frame, header, asked, folder))


def _draw(frame: Frame, header: Header, asked: Asked, folder: Path) -> None:
    from alignedcut_cli.report.sheets import Sheet, by_model, colour_grids, contact_sheet, image_rows, save_picture

    _, tensors = load_tensors(frame.project.path("color", header.name))
    slots, images = header.axes["S"]["slots"], header.axes["B"]["images"]
    photos = Photos(frame, header, asked.images)
    grids = colour_grids(tensors["nodes"], tensors["rgb"], slots)
    rows = Sheet(128, asked.upscale, asked.overlay)
    cells = Sheet(56, asked.upscale, asked.overlay)
    with frame.output.progress("drawing", len(images), "images") as advance:
        for number, image in enumerate(images):
            canvas = image_rows(rows, grids, slots, number, photos(number))
            save_picture(canvas, folder / f"{number:04d}-{file_stem(Path(image['path']).stem)}.png")
            advance(1)
    names = [Path(image["path"]).stem for image in images]
    for model, numbers in by_model(slots).items():
        canvas = contact_sheet(cells, grids, slots, numbers, names, photos)
        save_picture(canvas, folder / f"sheet-{file_stem(model)}.png")
