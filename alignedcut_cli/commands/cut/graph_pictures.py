"""The eigenvectors of each image of a cut of graphs, as a grid of maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.pictures import draw_once, file_stem
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["draw_eigenvectors"]


def draw_eigenvectors(frame: Frame, header: Header, images: Path | None) -> None:
    """One PNG per image, with a row of maps per slot, unless they already show this content."""
    wanted = {"content": header.content, "images": str(images)}
    draw_once(frame.project, header, wanted, lambda: _draw(frame, header, images))


def _draw(frame: Frame, header: Header, images: Path | None) -> None:
    from alignedcut_cli.core.embed.threads import in_threads
    from alignedcut_cli.core.groups.slot_scores import slot_grids
    from alignedcut_cli.report.eigenvectors import eigenvector_sheet
    from alignedcut_cli.report.sheets import save_picture

    _, tensors = load_tensors(frame.project.path("cut", header.name))
    slots, names = header.axes["S"]["slots"], header.axes["B"]["images"]
    grids = slot_grids(tensors["nodes"], tensors["eigenvectors"], slots, len(names))
    limits = [_limits(one.eigenvectors) for one in grids]
    folder, photos = frame.project.pictures("cut", header.name), Photos(frame, header, images)

    def draw_image(number: int) -> None:
        maps = [one.eigenvectors[number] for one in grids]
        sheet = eigenvector_sheet(maps, limits, slots, photos(number))
        save_picture(sheet, folder / f"{number:04d}-{file_stem(Path(names[number]['path']).stem)}.png")

    with frame.output.progress("drawing", len(names), "images") as advance:
        in_threads(draw_image, range(len(names)), advance)


def _limits(eigenvectors: np.ndarray) -> np.ndarray:
    """The 99% quantile of the magnitude of each eigenvector (C,) over all images, as their common scale."""
    import numpy as np

    flat = np.abs(eigenvectors.reshape(-1, eigenvectors.shape[-1]))
    return np.maximum(np.quantile(flat, 0.99, axis=0), np.finfo(np.float32).tiny)
