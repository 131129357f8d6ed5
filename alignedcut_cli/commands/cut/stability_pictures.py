"""The pictures of a bootstrapped cut: its eigenvectors over replicates, and how far each patch moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.pictures import draw_once, file_stem
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["draw_stability"]

SHOWN = 24
CELL = 72
LEGEND = "How far a patch moves when images are resampled: dark, not at all; bright, by its norm or more."


def draw_stability(frame: Frame, header: Header, images: Path | None) -> Path:
    """Draw stability.png (one per graph), and moves-MODEL.png, patches coloured by how far they move; the folder."""
    wanted = {"content": header.content, "images": str(images)}
    draw_once(frame.project, header, wanted, lambda: _draw(frame, header, images))
    return frame.project.pictures("cut", header.name)


def _draw(frame: Frame, header: Header, images: Path | None) -> None:
    from alignedcut_cli.report.figures import save_figure
    from alignedcut_cli.report.sheets import Sheet, by_model, colour_grids, contact_sheet, save_picture
    from alignedcut_cli.report.stability import stability_figure

    _, tensors = load_tensors(frame.project.path("cut", header.name))
    folder, found = frame.project.pictures("cut", header.name), header.raw["stability"]
    slots = header.axes["S"]["slots"]
    for number, one in enumerate(found):
        title = _title(header.name, slots, number if len(found) > 1 else None)
        stem = "stability" if len(found) == 1 else f"stability-{number:03d}"
        figure = stability_figure(one, tensors["kept"][number], tensors["matches"][number], title)
        save_figure(figure, folder / f"{stem}.png")
    names = [Path(image["path"]).stem for image in header.axes["B"]["images"]][:SHOWN]
    chosen = tensors["nodes"][:, 0] < len(names)
    grids = colour_grids(tensors["nodes"][chosen], _colours(tensors["moves"][chosen]), slots)
    photos = Photos(frame, header, images)
    for model, numbers in by_model(slots).items():
        sheet = contact_sheet(Sheet(CELL), grids, slots, numbers, names, photos, LEGEND)
        save_picture(sheet, folder / f"moves-{file_stem(model.replace(' · ', '-'))}.png")


def _title(name: str, slots: Sequence[Any], graph: int | None) -> str:
    """The subject of a figure: the cut, or one slot of it."""
    if graph is None:
        return f"cut/{name}: images resampled"
    return f"cut/{name}, {slots[graph]['model']} layer {slots[graph]['layer']}: images resampled"


def _colours(moves: np.ndarray) -> np.ndarray:
    """Dark for a node that does not move, bright for one that moves by its whole norm or more: (M, 3) uint8."""
    import matplotlib
    import numpy as np

    painted: np.ndarray = matplotlib.colormaps["magma"](np.clip(moves, 0, 1))
    return (painted[:, :3] * 255).round().astype(np.uint8)
