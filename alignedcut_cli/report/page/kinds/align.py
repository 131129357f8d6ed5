"""An alignment on the page: its scores by area, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from alignedcut_cli.report.page.html import joined, twin
from alignedcut_cli.report.page.kinds.kind import Given, Kind, Section

__all__ = ["KIND"]


def _methods(given: Given) -> str:
    header = given.header
    params, axes = header.params, header.axes
    images = axes["I"]
    return (
        f"The channels of {axes['S']['size']} slots were aligned to {axes['E']['size']} shared channels by predicting the "
        f"responses of {axes['N']['size']} voxels to {images['size']} images ({images['fit']} fitted, {images['heldout']} "
        f"held out, {images['test']} for tests): started by {params['init']}, then at most {params['epochs']} epochs at a "
        f"learning rate of {params['rate']:g}, agreement {params['agree']:g}, seed {params['seed']}."
    )


def _sections(given: Given) -> Sequence[Section]:
    rows = given.header.raw.get("rois") or []
    kept = ("roi", "voxels", "r2.train", "r2.test", "pearson.test", "ceiling", "share", "p")
    told = [{key: row.get(key) for key in kept} for row in rows]
    if not told:
        return []
    best = max(told, key=lambda row: row["r2.test"] or 0.0)
    line = f"Area predicted best on test images: {best['roi']}, R² {best['r2.test']:.3f}"
    line += f", {100 * best['share']:.0f} % of its noise ceiling." if best["share"] else "."
    return [
        Section(
            "measured", f"Prediction of the brain by {given.reference}", joined([line, twin("scores by area", told)])
        )
    ]


KIND = Kind(_methods, lambda given: ("yang2024alignedcut",), _sections)
