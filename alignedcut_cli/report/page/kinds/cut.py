"""A cut on the page: how it was made, and its certificates."""

from __future__ import annotations

from collections.abc import Sequence

from alignedcut_cli.report.page.kinds.kind import Given, Kind

__all__ = ["KIND"]

ROUGH = 0.1
"""The residual above which `cut` itself warns."""


def _methods(given: Given) -> str:
    header = given.header
    params, axes = header.params, header.axes
    graphs = axes["G"]["size"]
    of = f"{graphs} graphs, one a slot," if graphs > 1 else "one graph of all slots"
    named = {"vv": "values", "qk": "queries with keys"}.get(params.get("graph", ""))
    by = f"their {named}" if named else f"cosine similarity in {params['space']} space"
    told = (
        f"The {axes['M']['size']:,} nodes ({axes['B']['size']} photographs, {axes['S']['size']} slots) were joined in {of} "
        f"by {by}"
    )
    gamma = f", gamma {params['gamma']:g}" if "gamma" in params else ""
    solved = f"solver {params['solver']}{gamma}, seed {params['seed']}"
    told += f" and cut to {axes['C']['size']} eigenvectors of the normalized cut ({solved})"
    worst = _worst(given)
    return told + (
        f"; the certificate's largest residual is {worst:.2g} of the smallest eigenvalue." if worst is not None else "."
    )


def _worst(given: Given) -> float | None:
    labels = given.header.axes.get("Q", {}).get("labels", [])
    if "residual" not in labels or "certificate" not in given.arrays:
        return None
    return float(given.arrays["certificate"][:, labels.index("residual")].max())


def _references(given: Given) -> Sequence[str]:
    params = given.header.params
    found = ["shi2000normalized", "yang2024alignedcut"]
    if params.get("graph"):
        found.append("zhang2023deciphering")
    return [*found, "fowlkes2004nystrom"] if params.get("solver") in ("nystrom", "lowrank") else found


def _warnings(given: Given) -> Sequence[str]:
    worst = _worst(given)
    if worst is None or worst <= ROUGH:
        return []
    return [f"the certificate's residual is {worst:.2g} of the smallest eigenvalue: its last eigenvectors are rough"]


KIND = Kind(_methods, _references, warnings=_warnings)
