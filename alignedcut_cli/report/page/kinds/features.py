"""Features on the page: how they were extracted."""

from __future__ import annotations

from alignedcut_cli.nodes.slots import layer_name
from alignedcut_cli.report.page.kinds.kind import Given, Kind

__all__ = ["KIND"]

_LIBRARIES = {"openclip": "open_clip", "timm": "timm"}


def _methods(given: Given) -> str:
    header = given.header
    params, slots, images = header.params, header.axes["S"]["slots"], header.axes.get("B", {}).get("size", 0)
    grid = slots[0].get("grid")
    layers = layer_name({"layers": [slot["layer"] for slot in slots]})
    patches = f", {grid[0]} x {grid[1]} patches a photograph" if grid else ""
    tokens = params.get("tokens", "all")
    kept = "every token" if tokens == "all" else f"tokens chosen by {tokens}"
    return (
        f"Features of {images} photographs were read from {params.get('model', 'a model')} (tap {params.get('tap')}, "
        f"layers {layers}{patches}; {kept}), and stored as {params.get('dtype', 'float16')}."
    )


KIND = Kind(_methods)
