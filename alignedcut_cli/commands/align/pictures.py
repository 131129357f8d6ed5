"""The figures of an align artifact, redrawn whenever the artifact changes."""

from __future__ import annotations

from pathlib import Path

from alignedcut_cli.frame.pictures import draw_once
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.header import Header

__all__ = ["draw_if_needed"]


def draw_if_needed(frame: Frame, header: Header, folder: Path) -> None:
    """Draw losses.png, rois.png and channels.png into `folder`, unless they already show this content."""
    draw_once(frame.project, header, {"content": header.content}, lambda: _draw(frame, header, folder))


def _draw(frame: Frame, header: Header, folder: Path) -> None:
    from alignedcut_cli.report.figures import loss_figure, roi_figure, save_figure, similarity_figure

    _, arrays = load_tensors(frame.project.path("align", header.name))
    best = int(arrays["heldout"].argmax())
    labels = header.axes["L"]["labels"]
    save_figure(loss_figure(arrays["losses"], labels, arrays["heldout"], best), folder / "losses.png")
    save_figure(roi_figure(header.raw["rois"]), folder / "rois.png")
    similarity = similarity_figure(arrays["similarity.before"], arrays["similarity.after"], header.axes["S"]["slots"])
    save_figure(similarity, folder / "channels.png")
