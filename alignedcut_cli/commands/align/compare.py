"""`align --compare`: the difference from another alignment, ROI by ROI, on test images of both."""

from __future__ import annotations

from typing import Any

import numpy as np

from alignedcut_cli.core.resample.intervals import linear_difference
from alignedcut_cli.core.resample.nulls import holm
from alignedcut_cli.core.resample.words import stated_error
from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.output import table
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.header import Header

__all__ = ["compare_rois", "comparison_table"]


def compare_rois(frame: Frame, header: Header, other: str) -> list[dict[str, Any]]:
    """One row for each ROI that both have: both mean R^2, their difference with a paired interval over images, and p.

    Cross-validated scores where both have them, else those of test images. Raises DataError or InputMissingError.
    """
    versus = frame.project.header("align", other)
    kind = "cv" if all("cv.influence" in one.raw["tensors"] for one in (header, versus)) else "test"
    sides = [_side(frame, one, kind) for one in (header, versus)]
    (names, mine), (others, theirs) = sides
    if sorted(names) != sorted(others):
        raise DataError(
            "other-images",
            f"align/{header.name} and align/{other} were tested on different images",
            "Align both with the same --test-split, or both with --folds",
        )
    order = [others.index(name) for name in names]
    found = []
    for roi in [one for one in mine if one in theirs]:
        (score, influence), (against, moved) = mine[roi], theirs[roi]
        apart = linear_difference(score, against, influence, moved[order])
        found.append({"roi": roi, "this": score, "other": against, "images": len(names), "score": f"r2.{kind}"})
        found[-1] |= {"difference": apart.value, "low": apart.low, "high": apart.high, "p": apart.p}
        found[-1]["resampled"] = stated_error("images")
    for row, p in zip(found, holm(np.array([row["p"] for row in found])), strict=True):
        row["p.holm"] = float(p)
    return found


def _side(frame: Frame, header: Header, kind: str) -> tuple[list[str], dict[str, tuple[float, np.ndarray]]]:
    """The names of the scored images, and the score and influence (b,) of each ROI."""
    if f"{kind}.influence" not in header.raw["tensors"]:
        raise DataError(
            "no-influence", f"align/{header.name} was made by an earlier version", "Align it again with --overwrite"
        )
    _, arrays = load_tensors(frame.project.path("align", header.name))
    images = [image["path"] for image in header.axes["I"]["images"]]
    names = [images[place] for place in (range(len(images)) if kind == "cv" else arrays["tested"])]
    rows = zip(header.raw["rois"], arrays[f"{kind}.influence"], strict=True)
    return names, {row["roi"]: (row[f"r2.{kind}"], influence) for row, influence in rows}


def comparison_table(rows: list[dict[str, Any]], name: str, other: str) -> str:
    """The rows as a table."""
    head = ["ROI", name, other, "difference", "95%", "p (Holm)"]
    cells = [
        [row["roi"], f"{row['this']:.3f}", f"{row['other']:.3f}", f"{row['difference']:+.3f}",
         f"{row['low']:+.3f} to {row['high']:+.3f}", f"{row['p.holm']:.3g}"]
        for row in rows
    ]  # fmt: skip
    kind = "every image left out once" if rows and rows[0]["score"] == "r2.cv" else "test images"
    told = f"{rows[0]['resampled']}; {rows[0]['images']} images ({kind})" if rows else "no ROI is in both"
    return f"{table([head, *cells])}\n\n{told}\n"
