"""The contribution of each kind of artifact to the page. A new kind adds one file in `kinds` and its line here."""

from __future__ import annotations

from alignedcut_cli.report.page.kinds import (
    align,
    color,
    compare,
    concepts,
    cut,
    features,
    pathways,
    probe,
    score,
    segment,
    trace,
    tree,
)
from alignedcut_cli.report.page.kinds.kind import Kind

__all__ = ["REGISTRY"]

REGISTRY: dict[str, Kind] = {
    "features": features.KIND,
    "align": align.KIND,
    "cut": cut.KIND,
    "color": color.KIND,
    "segment": segment.KIND,
    "trace": trace.KIND,
    "concepts": concepts.KIND,
    "score": score.KIND,
    "probe": probe.KIND,
    "pathways": pathways.KIND,
    "compare": compare.KIND,
    "tree": tree.KIND,
}
