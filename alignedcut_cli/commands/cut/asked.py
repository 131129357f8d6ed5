"""The options that shape a cut."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Asked"]


@dataclass(frozen=True)
class Asked:
    """The options that shape a cut, as they were given; `typed` are those that stood on the command line."""

    sources: tuple[str, ...]
    space: str
    align: str | None
    roi: str | None
    layers: str
    per_slot: bool
    eigenvectors: int
    solver: str
    nodes: int | None
    neighbors: int
    sampling: str | None
    precision: str
    refine: int
    balance: str
    gamma: float
    seed: int
    name: str | None
    typed: frozenset[str]
