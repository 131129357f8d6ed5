"""A coloring on the page: the colours of patches, and how they were made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alignedcut_cli.report.page.kinds.kind import Given, Kind
from alignedcut_cli.report.page.lens import Lens, View

__all__ = ["KIND"]


def _methods(given: Given) -> str:
    header = given.header
    params, axes = header.params, header.axes
    if any(one.role == "onto" for one in header.inputs):
        return "Nodes took the places and colours of another coloring's nodes, by their nearest neighbours among them."
    return (
        f"Colours are the places of nodes in a {params['dims']}-dimensional t-SNE of {params['eigenvectors']} eigenvectors "
        f"(perplexity {params['perplexity']:g}, {axes['m']['size']:,} nodes placed, the others at their nearest one's "
        f"place, seed {params['seed']}), mapped to red, green and blue."
    )


def _views(given: Given, lens: Lens) -> Sequence[View]:
    parts = {n: given.arrays["rgb"][part.rows] for n, part in enumerate(lens.parts) if given.made_of(part.cut)}
    if not parts:
        return []
    coloured = {number: np.ones(len(values), bool) for number, values in parts.items()}
    views = [View("colours", "Colours (t-SNE)", lens.gathered(parts, 128), there=lens.gathered(coloured, False))]
    if len(lens.parts) == 1 and given.header.axes["G"]["size"] == 1:
        places = given.arrays["coordinates"][lens.parts[0].rows][:, :2]
        views.append(View("map", f"{given.reference}, first two dimensions", np.asarray(places, np.float32)))
    return views


KIND = Kind(_methods, lambda given: ("maaten2008visualizing",), views=_views)
