"""`alignedcut brain`: what a folder or table of responses holds, and what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignedcut_cli.errors import printable
from alignedcut_cli.frame import options
from alignedcut_cli.frame.output import Output, format_bytes, table
from alignedcut_cli.store.canonical import short

if TYPE_CHECKING:
    import numpy as np

    from alignedcut_cli.brain import Rdms, Responses

__all__ = ["EXAMPLES", "NAME", "command"]

NAME = "brain"
EXAMPLES = (
    "alignedcut brain subj01",
    "alignedcut brain algonauts --subject 1 --json",
    "alignedcut brain responses.csv",
)
_SOURCES = {"algonauts": "Algonauts 2023 subject", "table": "table"}


def command(
    path: Annotated[
        Path, typer.Argument(help="A subject's folder, or a csv, tsv, npy, npz or safetensors table.", metavar="PATH")
    ],
    subject: Annotated[
        int | None, typer.Option("--subject", min=1, help="Which of PATH's subj01, subj02, ...", metavar="N")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what brain data (or any responses to images) hold: images, voxels, ROIs, ceilings, what is missing."""
    from alignedcut_cli.brain import find_source, open_responses
    from alignedcut_cli.brain.rdm_sets import holds_rdms, read_rdms

    output = Output(NAME, json, quiet, verbose)
    source = find_source(path, subject)
    if source.is_file() and holds_rdms(source):
        about = _rdm_summary(source, read_rdms(source))
        output.result(_rdm_text(about), about)
        return
    output.note(f"reading {source}, {format_bytes(_size(source))}")
    responses = open_responses(source)
    summary = _summary(source, responses)
    output.result(_text(summary, verbose), summary)


def _rdm_summary(source: Path, found: Rdms) -> dict[str, Any]:
    regions = [{"name": name, "subjects": list(subjects)} for name, (subjects, _) in found.regions.items()]
    return {
        "schema": "alignedcut.brain-rdms/1",
        "path": str(source),
        "images": found.size,
        "named": found.images is not None,
        "regions": regions,
        "identity": found.identity,
    }


def _rdm_text(summary: dict[str, Any]) -> str:
    named = "" if summary["named"] else ", without names: taken in the feature set's order"
    about = [
        ["source", f"{summary['path']} (RDMs)"],
        ["images", f"{summary['images']:,}{named}"],
        ["content", short(summary["identity"])],
    ]
    rows = [[one["name"], str(len(one["subjects"])), ", ".join(one["subjects"])] for one in summary["regions"]]
    return "\n\n".join([table(about), table([["region", "subjects", ""], *rows])])


def _size(source: Path) -> int:
    """Bytes of the responses to be read."""
    files = source.glob("*_split/*_fmri/*.npy") if source.is_dir() else [source]
    return sum(file.stat().st_size for file in files)


def _summary(source: Path, found: Responses) -> dict[str, Any]:
    given = int(found.given.sum())
    return {
        "schema": "alignedcut.brain/1",
        "path": str(source),
        "source": found.source,
        "images": {"training": len(found.images) - given, "test": given},
        "left_out": list(found.lost),
        "voxels": {"kept": len(found.voxels), **_sides(found, found.voxels), "dropped": found.dropped.tolist()},
        "ceiling": _mean(found.ceiling),
        "surface": None if found.vertices is None else "fsaverage",
        "rois": [
            {
                "name": name,
                "voxels": int(mask.sum()),
                **_sides(found, found.voxels[mask]),
                "ceiling": _mean(None if found.ceiling is None else found.ceiling[mask]),
            }
            for name, mask in found.rois.items()
        ],
        "absent": list(found.absent),
        "notes": list(found.notes),
        "identity": found.identity,
    }


def _sides(found: Responses, columns: np.ndarray) -> dict[str, int | None]:
    """How many of the columns are of each hemisphere; None if unknown."""
    left = None if found.left is None else int((columns < found.left).sum())
    return {"left": left, "right": None if left is None else len(columns) - left}


def _mean(ceiling: np.ndarray | None) -> float | None:
    """The mean of the known ceilings; None if none is known."""
    import numpy as np

    if ceiling is None or np.isnan(ceiling).all():
        return None
    return round(float(np.nanmean(ceiling, dtype=np.float64)), 4)


def _text(summary: dict[str, Any], verbose: bool) -> str:
    images, voxels = summary["images"], summary["voxels"]
    held = f", {images['test']:,} test" if images["test"] else ""
    held += f", {len(summary['left_out']):,} left out" if summary["left_out"] else ""
    sides = f" ({voxels['left']:,} left, {voxels['right']:,} right)" if voxels["left"] is not None else ""
    about = [
        ["source", f"{summary['path']} ({_SOURCES[summary['source']]})"],
        ["images", f"{images['training']:,} training{held}"],
        ["voxels", f"{voxels['kept']:,}{sides}, {len(voxels['dropped']):,} dropped"],
        ["ceiling", "none" if summary["ceiling"] is None else f"{summary['ceiling']:.2f} on average"],
        ["surface", summary["surface"] or "unknown: no flat maps"],
        ["content", short(summary["identity"])],
    ]
    parts = [table(about)]
    if summary["rois"]:
        parts.append(table([["ROI", "voxels", "left", "right", "ceiling"], *map(_row, summary["rois"])]))
    if verbose and voxels["dropped"]:
        parts.append("dropped columns:\n  " + ", ".join(map(str, voxels["dropped"])))
    if verbose and summary["left_out"]:
        parts.append("images left out:\n  " + printable(", ".join(summary["left_out"])))
    if summary["notes"]:
        parts.append("\n".join(["missing or odd:", *(f"  {printable(note)}" for note in summary["notes"])]))
    return "\n\n".join(parts)


def _row(roi: dict[str, Any]) -> list[str]:
    counts = ["-" if roi[side] is None else f"{roi[side]:,}" for side in ("voxels", "left", "right")]
    return [roi["name"], *counts, "-" if roi["ceiling"] is None else f"{roi['ceiling']:.2f}"]
