"""The pictures and tables of a trace, redrawn if missing or outdated."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from alignedcut_cli.commands.trace.tables import TABLES
from alignedcut_cli.frame.drawing import draw_all
from alignedcut_cli.frame.output import as_csv
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.pictures import draw_once, file_stem
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header

__all__ = ["draw_if_needed"]

PHOTOS = 12


def draw_if_needed(frame: Frame, header: Header, images: Path | None, folder: Path) -> list[Path]:
    """The paths of the pictures, then of the tables; drawn unless all already show this content with these settings."""
    pictures, tables = _pictures(header), _tables(header)
    wanted = {"content": header.content, "images": str(images)}
    draw_once(frame.project, header, wanted, lambda: _draw(frame, header, images, folder))
    return [folder / name for name in [*pictures, *tables]]


def _pictures(header: Header) -> dict[str, str]:
    """File names of the pictures, with the model for pictures of transitions."""
    models = dict.fromkeys(pair["model"] for pair in header.axes["K"]["pairs"])
    named = {f"transitions-{file_stem(model)}.png": model for model in models}
    return {"paths.png": "", "pace.png": "", **named}


def _tables(header: Header) -> dict[str, str]:
    names = [name for name in TABLES if name != "bifurcation" or "p" in header.raw["tensors"]]
    return {f"{name}.csv": name for name in names if name != "paths" or header.axes["Q"]["size"]}


def _draw(frame: Frame, header: Header, images: Path | None, folder: Path) -> None:
    _, tensors = load_tensors(frame.project.path("trace", header.name))
    photos = Photos(frame, header, images)

    def draw_paths() -> None:
        from alignedcut_cli.report.figures import save_figure
        from alignedcut_cli.report.paths import paths_figure

        shown = list(dict.fromkeys(tensors["pixels"][:, 0].tolist()))[:PHOTOS]
        save_figure(paths_figure(header, tensors, {image: photos(image) for image in shown}), folder / "paths.png")

    def draw_pace() -> None:
        from alignedcut_cli.report.figures import save_figure
        from alignedcut_cli.report.paths import pace_figure

        save_figure(pace_figure(header, tensors), folder / "pace.png")

    def draw_transitions(name: str, model: str) -> None:
        from alignedcut_cli.report.sheets import save_picture
        from alignedcut_cli.report.transitions import transition_picture

        save_picture(transition_picture(header, tensors, model), folder / name)

    of_models = [partial(draw_transitions, name, model) for name, model in _pictures(header).items() if model]
    draw_all([draw_paths, draw_pace, *of_models])
    for name, table in _tables(header).items():
        writing_text(folder / name, as_csv(TABLES[table](header, tensors)))
