"""`alignedcut cut --bootstrap`: the stability of each graph's cut under resampling of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import UsageError
from alignedcut_cli.nodes.rows import GraphRows
from alignedcut_cli.nodes.slots import Slot, node_table

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.core.graph.bootstrap import Stability
    from alignedcut_cli.core.graph.ncut import Cut

__all__ = ["bootstrap_bytes", "require_images", "stability_of", "stability_summary", "stability_tensors"]

SHARE = 8
"""The Gram matrices of replicates may take at most 1 / SHARE of --memory."""


def require_images(replicates: int, images: int) -> None:
    """Raise UsageError where images cannot be resampled."""
    if replicates and images < 2:
        raise UsageError("one-image", f"--bootstrap draws images again, and there is {images}", "Give more images")


def bootstrap_bytes(params: Any) -> int:
    """Main memory of the smallest step: the Gram matrix of one replicate, in each thread."""
    from alignedcut_cli.core.graph.bootstrap import columns_for, replicate_bytes
    from alignedcut_cli.core.graph.parallel_tiles import MOST

    return MOST * replicate_bytes(columns_for(params["eigenvectors"]), 2) if params.get("bootstrap") else 0


def stability_of(
    rows: GraphRows,
    group: Sequence[Slot],
    cut: Cut,
    weights: torch.Tensor | None,
    params: Any,
    number: int,
    budget: int,
) -> Stability:
    """The stability of one graph's cut. All graphs share the bootstrap draws of images."""
    import torch

    from alignedcut_cli.core.graph.affinity import tile_rows
    from alignedcut_cli.core.graph.bootstrap import bootstrap_cut
    from alignedcut_cli.core.graph.parallel_tiles import MOST
    from alignedcut_cli.core.numerics import stream
    from alignedcut_cli.core.resample.draws import bootstrap_weights

    assert cut.extension is not None
    images = len(group[0].source.images)
    places = torch.cat([torch.from_numpy(node_table(slot.about, 0, images)[:, 0].copy()) for slot in group])
    return bootstrap_cut(
        rows.read,
        rows.take,
        len(rows),
        cut.extension,
        places.long(),
        torch.from_numpy(bootstrap_weights(images, params["bootstrap"], params["seed"])),
        params["eigenvectors"],
        weights=weights,
        budget=budget // (SHARE * MOST),
        seed=stream(params["seed"], "cut", number),
        tile=tile_rows(budget // 4, cut.extension.landmarks.device),
    )


def stability_tensors(found: Sequence[Stability]) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """The replicates of all graphs, and how far each node moves, with their meanings; empty without replicates."""
    import torch

    if not found:
        return {}, {}
    tensors = {
        "kept": torch.stack([one.kept for one in found]).float().numpy(),
        "matches": torch.stack([one.matches for one in found]).float().numpy(),
        "shares": torch.stack([one.eigenvalues for one in found]).float().numpy(),
        "moves": torch.cat([one.moves for one in found]).numpy(),
    }
    meanings = {
        "kept": ("G r C", "cosine of each eigenvector with the span of the replicate's C, images resampled"),
        "matches": ("G r C", "cosine with the one eigenvector of the replicate that is matched to it, one to one"),
        "shares": ("G r C", "eigenvalues of the replicate as shares of its first"),
        "moves": ("M", "root mean square distance of a node's row from the replicates', as a share of its length"),
    }
    return tensors, meanings


def stability_summary(pairs: Sequence[tuple[Cut, Stability]]) -> list[dict[str, Any]]:
    """The summary of each graph for `show`: the number of stable eigenvectors, means over replicates, 95 % intervals."""
    from alignedcut_cli.core.graph.bootstrap import STABLE, stable_count
    from alignedcut_cli.core.resample.intervals import recentred

    rows = []
    for cut, found in pairs:
        values = cut.eigenvalues.double() / float(cut.eigenvalues[0])
        draws = found.eigenvalues.numpy()
        ends = [recentred(draws[:, place], float(value)) for place, value in enumerate(values)]
        rows.append(
            {
                "stable": stable_count(found.kept),
                "one_by_one": stable_count(found.matches),
                "least": STABLE,
                "kept": _rounded(found.kept.mean(0).tolist()),
                "matches": _rounded(found.matches.mean(0).tolist()),
                "eigenvalues": _rounded(values.tolist()),
                "intervals": [_rounded(pair) for pair in ends],
                "moves": float(f"{float(found.moves.median()):.4g}"),
            }
        )
    return rows


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
