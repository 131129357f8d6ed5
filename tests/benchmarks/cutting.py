"""What the benchmarks of cut share: graphs of known structure, the solvers side by side, peak memory."""

from __future__ import annotations

import importlib.util
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import unit_rows
from alignedcut_cli.core.graph.certificate import certify
from alignedcut_cli.core.graph.lowrank import ncut_lowrank
from alignedcut_cli.core.graph.ncut import ncut_exact, ncut_nystrom

__all__ = ["SOLVERS", "Peak", "balanced", "largest_angle", "print_row", "skewed", "subspace_error", "watched"]

Solver = Callable[[Tensor, int, float], Tensor]
LANDMARKS = 1000


def made_clusters(nodes: int, width: int, sizes: Tensor, seed: int, spread: float) -> Tensor:
    """Features (M, D) of clusters with given shares, and within each a few directions of its own."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(sizes), width, generator=generator)
    member = torch.multinomial(sizes, nodes, replacement=True, generator=generator)
    inner = torch.randn(len(sizes), 4, width, generator=generator)
    place = torch.randn(nodes, 4, generator=generator)
    rows = centres[member] + 0.3 * torch.randn(nodes, width, generator=generator) * spread
    for direction in range(4):
        rows += 0.25 * place[:, direction, None] * inner[member, direction]
    return rows


def balanced(nodes: int, width: int = 768, seed: int = 0) -> Tensor:
    """Thirty clusters of one size."""
    return made_clusters(nodes, width, torch.ones(30), seed, 3.0)


def skewed(nodes: int, width: int = 768, seed: int = 0) -> Tensor:
    """Thirty clusters whose sizes fall as 1 / rank^1.5."""
    return made_clusters(nodes, width, torch.arange(1.0, 31) ** -1.5, seed, 3.0)


def subspace_error(found: Tensor, exact: Tensor) -> float:
    """||P - P_exact||_F / sqrt(2 C), by the residual of one orthonormal basis against the other."""
    left, right = (torch.linalg.qr(columns.double())[0] for columns in (found, exact))
    return float((left - right @ (right.T @ left)).norm() / left.shape[1] ** 0.5)


def largest_angle(found: Tensor, exact: Tensor) -> float:
    """The largest principal angle of two spans, in degrees."""
    left, right = (torch.linalg.qr(columns.double())[0] for columns in (found, exact))
    return float(torch.linalg.svdvals(left - right @ (right.T @ left))[0].clamp(max=1).asin().rad2deg())


def lowrank(units: Tensor, count: int, gamma: float) -> Tensor:
    return ncut_lowrank(lambda a, b: units[a:b], len(units), count, nodes=LANDMARKS, gamma=gamma,
                        take=lambda ids: units[ids]).eigenvectors  # fmt: skip


def exact(units: Tensor, count: int, gamma: float) -> Tensor:
    return ncut_exact(units, count, gamma=gamma).eigenvectors


def equation_four(units: Tensor, count: int, gamma: float, neighbors: int = 100, nodes: int = LANDMARKS) -> Tensor:
    return ncut_nystrom(lambda a, b: units[a:b], len(units), count, nodes=nodes, neighbors=neighbors, gamma=gamma,
                        take=lambda ids: units[ids]).eigenvectors  # fmt: skip


def auto(units: Tensor, count: int, gamma: float) -> Tensor:
    """What `cut --solver auto` does with this many nodes."""
    from alignedcut_cli.commands.cut.solver import EXACT_NODES, NYSTROM_NODES
    from alignedcut_cli.core.graph.choose_solver import sample_errors

    if len(units) <= EXACT_NODES["cpu"]:
        return exact(units, count, gamma)
    errors = sample_errors(lambda ids: units[ids], len(units), 3000, count=10, gamma=gamma)
    if min(errors, key=errors.__getitem__) == "lowrank":
        return lowrank(units, count, gamma)
    return equation_four(units, count, gamma, nodes=min(len(units), NYSTROM_NODES["cpu"]))


def ncut_pytorch(units: Tensor, count: int, gamma: float) -> Tensor:
    """ncut-pytorch at its defaults, with the affinity told: |u - v|^2 / 2 sigma^2 = (1 - cos) / gamma, sigma^2 = gamma.

    Below 8192 nodes it would cut exactly: `n_sample` is then the number of landmarks of the others.
    """
    from ncut_pytorch.ncuts import ncut_nystrom as theirs

    options: dict[str, int] = {}
    threshold = theirs.SMALL_SCALE_THRESHOLD
    if len(units) <= threshold:
        options = {"n_sample": LANDMARKS}
        theirs.SMALL_SCALE_THRESHOLD = 0
    try:
        return theirs.ncut_fn(units, n_eig=count, sigma=gamma**0.5, device="cpu", **options)[0]
    finally:
        theirs.SMALL_SCALE_THRESHOLD = threshold


def nystrom_ncut(units: Tensor, count: int, gamma: float) -> Tensor:
    from nystrom_ncut import NystromNCut as Theirs
    from nystrom_ncut import SampleConfig

    model = Theirs(n_components=count, affinity_type="cosine", affinity_focal_gamma=gamma,
                   sample_config=SampleConfig(num_sample=LANDMARKS))  # fmt: skip
    return model.fit_transform(units)


def spectral_embedding(units: Tensor, count: int, gamma: float) -> Tensor:
    """scikit-learn's embedding of the same affinity, which it holds whole; its rows are eigenvectors over sqrt(d)."""
    from sklearn.manifold import SpectralEmbedding

    matrix = ((units @ units.T - 1) / gamma).exp_().numpy().astype(np.float64)
    model = SpectralEmbedding(count, affinity="precomputed", eigen_solver="arpack", random_state=0)
    rows = model.fit_transform(matrix)
    root = np.sqrt(matrix.sum(1))[:, None]
    return torch.from_numpy(np.hstack([root, rows[:, : count - 1] * root]))


def importable(name: str) -> bool:
    if importlib.util.find_spec(name) is None:
        return False
    try:
        __import__(name)
    except Exception as error:  # a peer that does not import is left out and said
        print(f"{name} is installed and does not import: {error}")
        return False
    return True


SOLVERS: dict[str, Solver] = {
    "exact": exact,
    "lowrank": lowrank,
    "Eq. 4, K = 100": equation_four,
    "Eq. 4, K = 10": lambda units, count, gamma: equation_four(units, count, gamma, 10),
    "auto": auto,
    "SpectralEmbedding": spectral_embedding,
}
PEERS = {"ncut_pytorch": ncut_pytorch, "nystrom_ncut": nystrom_ncut}


def all_solvers() -> dict[str, Solver]:
    """Ours, scikit-learn's, and those peers that import."""
    return SOLVERS | {name: solve for name, solve in PEERS.items() if importable(name)}


def certificate(units: Tensor, vectors: Tensor, values: Tensor, gamma: float) -> float:
    """The certificate's residual of any solver's eigenvectors."""
    found, _ = certify(lambda a, b: units[a:b], lambda ids: units[ids], vectors.float(), values,
                       gamma=gamma, rank=0, seed=0)  # fmt: skip
    return found.residual


def anonymous() -> int:
    """Bytes of anonymous memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass
class Peak:
    """Seconds taken, and the most anonymous memory above that at the start."""

    seconds: float = 0.0
    bytes: int = 0
    before: int = field(default_factory=anonymous)


@contextmanager
def watched() -> Iterator[Peak]:
    """Time and peak anonymous memory of a block, sampled every 5 ms by a thread."""
    found, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            found.bytes = max(found.bytes, anonymous() - found.before)

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    try:
        yield found
    finally:
        found.seconds = time.perf_counter() - began
        done.set()
        thread.join()


def dense_top(units: Tensor, count: int, gamma: float) -> tuple[Tensor, Tensor]:
    """Eigenvalues (C,) and eigenvectors (M, C) of D^-1/2 A D^-1/2, dense float64, by ARPACK to a residual of 1e-10."""
    from scipy.sparse.linalg import eigsh

    rows = units.double()
    matrix = (rows @ rows.T).sub_(1).div_(gamma).exp_()
    root = matrix.sum(1).rsqrt()
    matrix.mul_(root[:, None]).mul_(root)
    values, vectors = eigsh(matrix.numpy(), k=count, which="LA", ncv=4 * count, tol=1e-12, v0=np.ones(len(units)))
    found, spans = torch.from_numpy(values[::-1].copy()), torch.from_numpy(vectors[:, ::-1].copy())
    assert float((matrix @ spans - spans * found).norm(dim=0).max()) < 1e-10
    return found, spans


def print_row(cells: list[str], widths: list[int]) -> None:
    print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


def threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def units_of(features: Tensor) -> Tensor:
    return unit_rows(features)
