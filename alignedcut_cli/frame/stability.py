"""The stability of a bootstrapped cut's eigenvectors, from its header, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignedcut_cli.frame.output import table
from alignedcut_cli.store.header import Header

__all__ = ["stability_lines", "stability_table"]


def stability_lines(header: Header) -> list[str]:
    """One line per graph: how many of its eigenvectors are stable."""
    found = header.raw["stability"]
    count, draws = header.params["eigenvectors"], header.params["bootstrap"]
    return [
        f"{'' if len(found) == 1 else f'graph {number}: '}{one['stable']} of {count} eigenvectors are stable over {draws} "
        f"draws of images (mean cosine with the replicates' {count} at least {one['least']:g}), {one['one_by_one']} of "
        f"them one by one; nodes move by {one['moves']:.0%} of their row (median)"
        for number, one in enumerate(found)
    ]


def stability_table(header: Header) -> str:
    """The eigenvectors of each graph: eigenvalue relative to the first, its interval, and the eigenvector's stability."""
    return "\n".join(
        f"{line}\n{_rows(one)}" for line, one in zip(stability_lines(header), header.raw["stability"], strict=True)
    )


def _rows(found: Mapping[str, Any]) -> str:
    head = ["eigenvector", "eigenvalue", "95%", "in the span", "one by one", ""]
    rows = [
        [
            str(place + 1),
            f"{found['eigenvalues'][place]:.4f}",
            "{:.4f} to {:.4f}".format(*found["intervals"][place]),
            f"{found['kept'][place]:.3f}",
            f"{found['matches'][place]:.3f}",
            "stable" if place < found["stable"] else "",
        ]
        for place in range(len(found["kept"]))
    ]
    return table([head, *rows])
