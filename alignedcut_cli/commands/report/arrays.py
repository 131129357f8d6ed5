"""The arrays of an artifact, verified once and then read lazily."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.report.page.kinds.kind import Given
from alignedcut_cli.store.artifact import map_tensor, read_layout
from alignedcut_cli.store.canonical import stored_digest
from alignedcut_cli.store.files import disk_errors
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    import numpy as np

__all__ = ["given_artifact"]


class _Arrays(Mapping[str, "np.ndarray"]):
    """Memory-mapped arrays by name."""

    def __init__(self, path: Path) -> None:
        self.layout = read_layout(path)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.layout.offsets:
            raise KeyError(name)
        return map_tensor(self.layout, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.offsets)

    def __len__(self) -> int:
        return len(self.layout.offsets)


def given_artifact(frame: Frame, header: Header) -> Given:
    """An artifact with its arrays (features: none). Raises DataError if they do not match its content id."""
    if header.kind == "features":
        return Given(header, {})
    arrays = _Arrays(frame.project.path(header.kind, header.name))
    with disk_errors(arrays.layout.path):
        found = stored_digest(arrays.layout.path, arrays.layout.offsets)
    if found != header.content:
        told = f"{arrays.layout.path}: the tensors do not match the content id in the header"
        raise DataError("artifact-corrupt", told, "Make it again; alignedcut check --deep says how")
    return Given(header, arrays)
