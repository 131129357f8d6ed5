"""How far what a device made is from what the CPU made, artifact by artifact: one function a kind, figures by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests.gpu.conftest import Table

__all__ = ["COMPARISONS", "widest_gap"]

Arrays = Mapping[str, np.ndarray]
EXACT, APPROXIMATE = 2e-3, 2e-2


def opened(path: Path) -> Arrays:
    """All tensors of an artifact: of one file, or of the shards of a folder, each under its own name."""
    if path.is_file():
        return load_file(path)
    return {f"{shard.name}/{k}": v for shard in sorted(path.glob("*.safetensors")) for k, v in load_file(shard).items()}


def features(cpu: Arrays, device: Arrays, table: Table, name: str) -> None:
    """The smallest cosine of two tokens."""
    least = 1.0
    for key, one in cpu.items():
        left, right = one.astype(np.float64), device[key].astype(np.float64)
        sizes = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
        least = min(least, float(((left * right).sum(-1) / np.maximum(sizes, 1e-30)).min()))
    table.row(f"extract {name}: least cosine of a token", least, least=0.999)


def widest_gap(values: np.ndarray) -> int:
    """The number c of eigenvectors, in the upper half of C, whose gap to the next is widest: what a projector needs."""
    half = len(values) // 2
    return half + int(np.argmax(values[half - 1 : -1] - values[half:]))


def cut(cpu: Arrays, device: Arrays, table: Table, name: str) -> None:
    """The largest |P - Q|_F / sqrt(2 c) over the graphs, of the top c eigenvectors each."""
    worst = 0.0
    for graph, (start, stop) in enumerate(cpu["graphs"]):
        count = widest_gap(cpu["eigenvalues"][graph])
        left, right = (
            np.linalg.qr(one["eigenvectors"][start:stop, :count].astype(np.float64))[0] for one in (cpu, device)
        )
        worst = max(worst, float(np.linalg.norm(left - right @ (right.T @ left)) / count**0.5))
    most = APPROXIMATE if "landmarks.000" in cpu else EXACT
    table.row(f"cut {name}: projector error", worst, most=most)


def color(cpu: Arrays, device: Arrays, table: Table, name: str) -> None:
    one, other = (float(found["divergence"].mean()) for found in (cpu, device))
    table.row(f"color {name}: KL over the CPU's", other / one, most=1.02)


def align(cpu: Arrays, device: Arrays, table: Table, name: str) -> None:
    one, other = (float(found["r2.test"].mean()) for found in (cpu, device))
    table.row(f"align {name}: mean test R^2 less the CPU's", other - one, least=-0.005)
    table.row(f"align {name}: mean test R^2", other)


def segment(cpu: Arrays, device: Arrays, table: Table, name: str) -> None:
    apart = [np.abs(cpu[key].max(1) - device[key].max(1)).max() for key in cpu if key.endswith(".miou")]
    table.row(f"segment {name}: largest difference of a layer's mIoU", float(max(apart)), most=0.02)


def trace(cpu: Arrays, device: Arrays, table: Table, name: str) -> None:
    """t-SNE turns rounding into other places: what stays is how well it fits, and how far nodes move between layers."""
    one, other = (float(found["divergence"].mean()) for found in (cpu, device))
    table.row(f"trace {name}: KL over the CPU's", other / one, most=1.05)
    steps = [found["steps"][:, 0] for found in (cpu, device)]
    table.row(f"trace {name}: correlation of the steps between layers", float(np.corrcoef(*steps)[0, 1]), least=0.8)


def concepts(cpu: Arrays, device: Arrays, table: Table, name: str) -> None:
    table.row(
        f"concepts {name}: nodes in the same concept", float((cpu["concept"] == device["concept"]).mean()), least=0.999
    )
    left, right = cpu["concept.mean"], device["concept.mean"]
    apart = np.nanmax(np.abs(left - right)) / np.nanmax(np.abs(left))
    table.row(f"concepts {name}: largest difference of an activation, of the largest", float(apart), most=0.01)


COMPARISONS: dict[str, Callable[[Arrays, Arrays, Table, str], None]] = {
    "features": features,
    "cut": cut,
    "color": color,
    "align": align,
    "segment": segment,
    "trace": trace,
    "concepts": concepts,
}
