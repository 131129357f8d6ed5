"""`alignedcut color`: from a cut to a colour for every node, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.commands.color.asked import Asked
from alignedcut_cli.commands.color.export import EXPORTS
from alignedcut_cli.frame import options
from alignedcut_cli.frame.pictures import draw_once, file_stem
from alignedcut_cli.frame.run import DryRun, Frame, require_choice
from alignedcut_cli.frame.sweeps import Sweep, make_shard, run_sweeps
from alignedcut_cli.store.artifact import load_tensors, open_tensors, write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np
    import torch

    from alignedcut_cli.commands.color.plan import Plan
    from alignedcut_cli.commands.color.sweeps import Placing
    from alignedcut_cli.frame.keep import Arrays
    from alignedcut_cli.store.parts import Parts

__all__ = ["BEFORE", "EXAMPLES", "EXPORTS", "NAME", "command"]

NAME = "color"
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


@options.taken_as(Asked)
def command(frame: Frame, asked: Asked) -> None:
    """Colour every node by its place in a spectral t-SNE: the same colour means the same to the network.

    t-SNE places a sample of nodes by their top eigenvectors; every other node takes the place of its nearest one.
    Colours are one mapping for all images and slots of a joint cut, and one for each slot of a --per-slot cut. With
    --onto, nodes of a cut that was embedded onto another take the places and colours of that one's nodes. Pictures: for
    each image a row of its layers, and a contact sheet per model.
    """
    from alignedcut_cli.commands.color.plan import make_plan, tsne_device
    from alignedcut_cli.commands.color.sweeps import Placing, numerics
    from alignedcut_cli.store.parts import Parts

    require_choice("--upscale", asked.upscale, ("nearest", "bilinear"))
    device, plan = tsne_device(asked.device, asked.cluster), make_plan(frame, asked)
    folder = frame.project.pictures("color", plan.recipe.name)
    files = Parts(frame.project, plan.recipe, numerics(device))
    if asked.dry_run:
        frame.dry_run(_dry_run(frame, plan, asked, Placing(frame, plan, files, device).sweeps(), folder))
        return
    if asked.shard:
        frame.output.result(*make_shard(frame, plan.recipe, asked.shard, lambda: _open(frame, plan, files, device)))
        return
    header, made = _make(frame, plan, asked, files, device)
    result = {"schema": "alignedcut.color/1", **frame.artifact_object(header, made=made)}
    lines = [str(frame.project.path("color", header.name))]
    if asked.pictures:
        _draw_if_needed(frame, header, asked, folder)
        lines.append(str(folder))
        result["pictures"] = str(folder)
    frame.output.result("\n".join(lines), result)


def _dry_run(frame: Frame, plan: Plan, asked: Asked, sweeps: list[Sweep], folder: Path) -> DryRun:
    from alignedcut_cli.frame.cluster_costs import shared_counts

    total, dims = plan.parent.axes["M"]["size"], plan.recipe.params["dims"]
    size = total * (3 + 4 * dims + 16)
    return DryRun(
        [f"{one.kind}/{one.name}" for one in plan.recipe.inputs],
        [
            (str(frame.project.path("color", plan.recipe.name)), size),
            *([(f"{folder}/", 0)] if asked.pictures else []),
        ],
        plan.need(held=not (asked.cluster or asked.shard)),
        shared_counts(asked, NAME, sweeps, read=plan.read_bytes(), memory=plan.task_need()),
    )


def _open(frame: Frame, plan: Plan, files: Parts, device: torch.device) -> list[Sweep]:
    from alignedcut_cli.commands.color.sweeps import Placing

    files.open()
    return Placing(frame, plan, files, device).sweeps()


def _make(frame: Frame, plan: Plan, asked: Asked, files: Parts, device: torch.device) -> tuple[Header, bool]:
    """The coloring, made unless it is up to date. Without a cluster, what the tasks give is held in memory."""
    from alignedcut_cli.commands.color.sweeps import Placing, numerics
    from alignedcut_cli.core.embed.tsne import ORDER
    from alignedcut_cli.frame.keep import Held, Keeper

    recipe, graphs = plan.recipe, len(plan.graphs)

    def made() -> Header:
        tensors = open_tensors(frame.project.path("cut", plan.cut))
        used = {**numerics(device), "order": ORDER}
        keeper = Keeper(frame, recipe, used, lambda state: _told(state, graphs))
        if asked.cluster:
            files.open()
            placing = Placing(frame, plan, files, device)
        else:
            placing = Placing(frame, plan, Held(frame, recipe, files), device, keeper)
            placing.resume()
        with keeper.told_when_stopped():
            run_sweeps(frame, asked, placing.sweeps())
        header = _write(frame, plan, placing, tensors["nodes"], device)
        keeper.drop()
        files.drop()
        return header

    return frame.make_once(recipe, asked.overwrite, made)


def _told(state: Arrays, graphs: int) -> str:
    """How far the state of a checkpoint is."""
    from alignedcut_cli.commands.color.sweeps import finished
    from alignedcut_cli.core.embed.colours import ITERATIONS

    done = finished(state)
    if "done" not in state:
        return f"{done} of {graphs} graphs"
    now = f"{int(state['done'][0])} of {sum(ITERATIONS)} iterations"
    return now if graphs == 1 else f"{done} of {graphs} graphs and {now} of the next"


def _write(frame: Frame, plan: Plan, placing: Placing, nodes: np.ndarray, device: torch.device) -> Header:
    """The artifact, from what the tasks gave."""
    from alignedcut_cli.commands.color.place import coloured
    from alignedcut_cli.commands.color.sweeps import numerics

    found, parent, base = coloured(frame, plan, placing), plan.parent, plan.base
    meanings = {
        "rgb": ("M Z", "red, green and blue of each node, 0 to 255"),
        "coordinates": ("M d", "place of each node in the spectral t-SNE of its graph"),
        "sampled": ("m", "the nodes that t-SNE placed here; the others took the place of their nearest one"),
        "divergence": ("G", "Kullback-Leibler divergence of each graph's t-SNE"),
        "perplexity": ("G", "perplexity used for each graph"),
        "nodes": ("M T", "image, slot, row, col of each node; row = col = -1 for the class token"),
    }
    axes = {letter: parent.axes[letter] for letter in ("M", "G", "T", "B", "S")}
    axes |= {
        "Z": {"size": 3, "labels": ["red", "green", "blue"]},
        "d": {"size": plan.recipe.params["dims"]},
        "m": {"size": len(found["sampled"])},
    }
    return write_artifact(
        frame.project.path("color", plan.recipe.name),
        plan.recipe,
        {**found, "nodes": nodes},
        meanings,
        axes=axes,
        numerics=numerics(device),
        parents=(parent, base.header) if base else (parent,),
    )


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
    from alignedcut_cli.core.embed.threads import in_threads
    from alignedcut_cli.frame.photos import Photos
    from alignedcut_cli.report.sheets import Sheet, by_model, colour_grids, contact_sheet, image_rows, save_picture

    _, tensors = load_tensors(frame.project.path("color", header.name))
    slots, images = header.axes["S"]["slots"], header.axes["B"]["images"]
    photos = Photos(frame, header, asked.images)
    grids = colour_grids(tensors["nodes"], tensors["rgb"], slots)
    rows = Sheet(128, asked.upscale, asked.overlay)
    cells = Sheet(56, asked.upscale, asked.overlay)
    names = [Path(image["path"]).stem for image in images]

    def draw_image(number: int) -> None:
        canvas = image_rows(rows, grids, slots, number, photos(number))
        save_picture(canvas, folder / f"{number:04d}-{file_stem(names[number])}.png")

    def draw_model(model: str) -> None:
        canvas = contact_sheet(cells, grids, slots, by_model(slots)[model], names, photos)
        save_picture(canvas, folder / f"sheet-{file_stem(model)}.png")

    with frame.output.progress("drawing", len(images), "images") as advance:
        in_threads(draw_image, range(len(images)), advance)
    in_threads(draw_model, list(by_model(slots)))
