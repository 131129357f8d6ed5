"""The pictures and tables of a trace: derived, and made again whenever they are missing or would differ."""

from __future__ import annotations

import json
import re
from pathlib import Path

from alignedcut_cli.commands.frame import Frame
from alignedcut_cli.commands.trace_tables import TABLES, as_csv
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.files import remove, writing_text
from alignedcut_cli.store.header import Header

__all__ = ["draw_if_needed"]

DRAWN = "drawn.json"
PHOTOS = 12


def draw_if_needed(frame: Frame, header: Header, images: Path | None, folder: Path) -> list[Path]:
    """The paths of the pictures, then of the tables; they are made unless all show this very content in this way."""
    pictures, tables = _pictures(header), _tables(header)
    wanted = json.dumps({"content": header.content, "images": str(images)})
    marker = folder / DRAWN
    paths = [folder / name for name in [*pictures, *tables]]
    if not (
        marker.is_file() and marker.read_text(encoding="utf-8") == wanted and all(path.is_file() for path in paths)
    ):
        remove(folder)
        _draw(frame, header, images, folder)
        writing_text(marker, wanted)
    return paths


def _pictures(header: Header) -> dict[str, str]:
    """File names of the pictures; of those of transitions the model."""
    models = dict.fromkeys(pair["model"] for pair in header.axes["K"]["pairs"])
    plain = {f"transitions-{re.sub(r'[^A-Za-z0-9._+-]+', '-', model)[:120]}.png": model for model in models}
    return {"paths.png": "", "pace.png": "", **plain}


def _tables(header: Header) -> dict[str, str]:
    names = [name for name in TABLES if name != "bifurcation" or "p" in header.raw["tensors"]]
    return {f"{name}.csv": name for name in names if name != "paths" or header.axes["Q"]["size"]}


def _draw(frame: Frame, header: Header, images: Path | None, folder: Path) -> None:
    from alignedcut_cli.commands.color import Photos
    from alignedcut_cli.report.figures import save_figure
    from alignedcut_cli.report.paths import pace_figure, paths_figure, transition_figure

    _, tensors = load_tensors(frame.project.path("trace", header.name))
    photos = Photos(frame, header, images)
    shown = list(dict.fromkeys(tensors["pixels"][:, 0].tolist()))[:PHOTOS]
    save_figure(paths_figure(header, tensors, {image: photos(image) for image in shown}), folder / "paths.png")
    save_figure(pace_figure(header, tensors), folder / "pace.png")
    for name, model in _pictures(header).items():
        if model:
            save_figure(transition_figure(header, tensors, model), folder / name)
    for name, table in _tables(header).items():
        writing_text(folder / name, as_csv(TABLES[table](header, tensors)))
