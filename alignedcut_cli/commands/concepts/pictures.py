"""The pictures and tables of a concepts artifact, redrawn if missing or drawn with other settings."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alignedcut_cli.commands.concepts.plan import Pixel
from alignedcut_cli.commands.concepts.result import UNNAMED, name_of, rows_of, tables
from alignedcut_cli.core.groups.concept_stability import UNSTABLE
from alignedcut_cli.frame.drawing import Drawing, draw_all
from alignedcut_cli.frame.output import as_csv
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.pictures import draw_once, file_stem
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.report.concepts import class_figure, concept_figure, contrast_figure, grid_of, group_figure
from alignedcut_cli.report.figures import save_figure
from alignedcut_cli.report.flat import Panel, flat_figure, flat_of, has_surface
from alignedcut_cli.report.patches import Photo, crop_strip, similarity_sheet
from alignedcut_cli.report.sheets import by_model, save_picture
from alignedcut_cli.store.files import writing_text
from alignedcut_cli.store.header import Header

__all__ = ["draw_if_needed"]

LONGEST_NAME = 40
Arrays = Mapping[str, np.ndarray]


def draw_if_needed(frame: Frame, header: Header, arrays: Arrays, folder: Path, shown: int, images: Path | None) -> None:
    """Draw everything into `folder`, unless it already shows this content with these settings and no file is missing."""
    on_surface = "vertices" in arrays and has_surface()
    if "vertices" in arrays and not on_surface:
        frame.output.note("no flat maps of the cortex without the package nilearn: pip install 'alignedcut[brain]'")
    wanted = {"content": header.content, "shown": shown, "images": str(images), "flat": on_surface}
    if "W" in header.axes:
        wanted["words"] = header.raw["external"]["words"]
    draw_once(frame.project, header, wanted, lambda: draw(frame, header, arrays, folder, shown, images, on_surface))


def draw(
    frame: Frame, header: Header, arrays: Arrays, folder: Path, shown: int, images: Path | None, on_surface: bool
) -> None:
    for name in tables(arrays):
        writing_text(folder / f"{name}.csv", as_csv(rows_of(name, header, arrays)))
    photo = functools.lru_cache(maxsize=256)(Photos(frame, header, images))
    slots = range(len(header.axes["S"]["slots"]))
    drawings: list[Drawing] = [partial(_draw_concepts, header, arrays, folder, slot, photo) for slot in slots]
    if "contrast" in arrays:
        drawings += _of_groups(header, arrays, folder)
    for pixel in range(len(arrays.get("similarity", ()))):
        drawings.append(partial(_draw_pixel, header, arrays, folder, pixel, shown, photo))
    if on_surface:
        drawings += _flat_maps(header, arrays, folder)
    with frame.output.progress("drawing", len(drawings), "figures") as advance:
        draw_all(drawings, advance)


def _file(*parts: object) -> str:
    return file_stem("-".join(map(str, parts))) + ".png"


def _of_groups(header: Header, arrays: Arrays, folder: Path) -> list[Drawing]:
    """What draws figure and ground, their contrast, and the classes of each model."""
    slots, rois = header.axes["S"]["slots"], header.axes["R"]["labels"]
    mean, se = arrays["group.mean"], arrays["group.se"]
    classes = header.axes["G"]["labels"][2:]

    def draw_group() -> None:
        save_figure(group_figure(mean[:, :2], se[:, :2], rois, slots), folder / "figure-ground.png")

    def draw_contrast() -> None:
        save_figure(contrast_figure(arrays["contrast"], arrays["contrast.se"], rois, slots), folder / "contrast.png")

    def draw_classes(model: str, numbers: Sequence[int]) -> None:
        chosen = [slots[number] for number in numbers]
        save_figure(class_figure(mean[numbers, 2:], classes, rois, chosen), folder / _file("classes", model))

    models = by_model(slots).items() if len(classes) > 1 else ()
    return [draw_group, draw_contrast, *(partial(draw_classes, model, numbers) for model, numbers in models)]


def _draw_concepts(header: Header, arrays: Arrays, folder: Path, number: int, photo: Photo) -> None:
    slot = header.axes["S"]["slots"][number]
    there = np.flatnonzero(arrays["centres"][number] >= 0)
    labels, strips = [], []
    for concept in there:
        labels.append(_label(header, arrays, number, int(concept)))
        shown = arrays["examples"][number, concept]
        places = [(int(a), int(b), int(c)) for a, _, b, c in arrays["nodes"][shown[shown >= 0]]]
        strips.append(crop_strip(places, tuple(slot["grid"]), photo, header.axes["P"]["size"]))
    title = (
        f"{slot['model']} · {slot['tap']} · layer {slot['layer']}: spheres of radius {arrays['radius'][number]:.3g} in the "
        "colour space; brain-space activation, mean ± standard deviation over patches"
    )
    figure = concept_figure(
        title,
        labels,
        (arrays["concept.mean"][number, there], arrays["concept.sd"][number, there]),
        header.axes["R"]["labels"],
        (arrays["voxel.mean"][number, there], arrays["voxel.sd"][number, there]),
        strips,
    )
    save_figure(figure, folder / _file("concepts", slot["model"], slot["tap"], f"L{slot['layer']:02d}"))


def _called(header: Header, arrays: Arrays, slot: int, concept: int) -> str:
    """A concept's number, with its name where words were given."""
    if "name.word" not in arrays:
        return f"concept {concept}"
    name = name_of(header, arrays, slot, concept)
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return f"concept {concept} ({name})" if name == UNNAMED else f"concept {concept} “{short}”"


def _label(header: Header, arrays: Arrays, slot: int, concept: int) -> tuple[str, str]:
    """The title of a concept: its size and stability; and r of |mean| with deviation, both ways."""
    r, _, scored = arrays["correlation"][slot, concept]
    images, seeds = arrays["stability"][slot, concept]
    called = _called(header, arrays, slot, concept) + ("\n" if "name.word" in arrays else ": ")
    told = f"{called}{int(arrays['members'][slot, concept])} patches"
    if np.isfinite(images):
        told += f", comes back {images:.2f} (images), {seeds:.2f} (starts)"
        told += " UNSTABLE" if min(images, seeds) < UNSTABLE else ""
    return told, f"sd against mean: r {r:+.2f}, z-scored {scored:+.2f}"


def _flat_maps(header: Header, arrays: Arrays, folder: Path) -> list[Drawing]:
    """What draws flat maps of the cortex: the figure-ground contrast of all slots, and the concepts of each slot."""
    slots, flat = header.axes["S"]["slots"], flat_of(arrays, header.axes)

    def draw_contrast() -> None:
        places, _, layers = grid_of(slots)
        panels: list[list[Panel | None]] = [[None] * (1 + max(column for _, column in places)) for _ in layers]
        for slot, values, (row, column) in zip(slots, arrays["contrast.voxel"], places, strict=True):
            panels[row][column] = Panel(values, f"{slot['model']} · {slot['tap']} · layer {slot['layer']}")
        title = "brain-space activation: mean over the foreground - mean over the background"
        save_figure(flat_figure(title, flat, panels), folder / "flat-contrast.png")

    def draw_slot(number: int) -> None:
        slot = slots[number]
        lines = [
            [
                Panel(arrays["voxel.mean"][number, concept], f"{_called(header, arrays, number, int(concept))}, mean"),
                Panel(arrays["voxel.sd"][number, concept], "standard deviation", signed=False),
            ]
            for concept in np.flatnonzero(arrays["centres"][number] >= 0)
        ]
        title = f"{slot['model']} · {slot['tap']} · layer {slot['layer']}: brain-space activation over patches"
        figure = flat_figure(title, flat, lines)
        save_figure(figure, folder / _file("flat", slot["model"], slot["tap"], f"L{slot['layer']:02d}"))

    of_slots = [partial(draw_slot, number) for number in range(len(slots))]
    return [*([draw_contrast] if "contrast.voxel" in arrays else []), *of_slots]


def _draw_pixel(header: Header, arrays: Arrays, folder: Path, pixel: int, shown: int, photo: Photo) -> None:
    slots, images = header.axes["S"]["slots"], header.axes["B"]["images"]
    path, row, column = header.axes["Q"]["pixels"][pixel]
    names = [Path(image["path"]).stem for image in images]
    own = [image["path"] for image in images].index(path)
    rest = [number for number in range(len(images)) if number != own]
    others = [rest[place] for place in np.linspace(0, len(rest) - 1, min(shown - 1, len(rest))).round().astype(int)]
    for model, numbers in by_model(slots).items():
        grids = [_grid(arrays, pixel, number, slots[number], len(images)) for number in numbers]
        heads = [_head(header, arrays, pixel, number) for number in numbers]
        title = f"{model}: cosine with {names[own]} row {row}, column {column}"
        place = Pixel(own, row, column).cell(slots[0]["grid"], slots[numbers[0]]["grid"])
        sheet = similarity_sheet(title, heads, grids, (own, *place), [own, *others], names, photo)
        save_picture(sheet, folder / _file("pixel", pixel, model))


def _grid(arrays: Arrays, pixel: int, number: int, slot: Mapping[str, Any], images: int) -> np.ndarray:
    """Similarity of a slot's patches, (B, rows, cols)."""
    mine = (arrays["nodes"][:, 1] == number) & (arrays["nodes"][:, 2] >= 0)
    return arrays["similarity"][pixel, mine].reshape(images, *slot["grid"])


def _head(header: Header, arrays: Arrays, pixel: int, number: int) -> str:
    layer = f"L{header.axes['S']['slots'][number]['layer']}"
    if "separation" not in arrays:
        return layer
    scores = dict(zip(header.axes["F"]["labels"], arrays["separation"][pixel, number], strict=True))
    return f"{layer}\nIoU {scores['iou']:.2f}\nAUC {scores['auc']:.2f}"
