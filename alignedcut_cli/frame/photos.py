"""The photographs behind an artifact, as pictures show them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Photos"]


class Photos:
    """The photographs behind an artifact, small; None for those that are gone (which is said once)."""

    def __init__(self, frame: Frame, header: Header, folder: Path | None) -> None:
        manifests = [node["external"]["manifest"] for node in header.history if node["kind"] == "features"]
        self._root = folder or frame.journal.image_root(manifests[0])
        self._images = header.axes["B"]["images"]
        self._frame = frame
        self._said = False

    def __call__(self, number: int) -> Image.Image | None:
        from alignedcut_cli.datasets.images import decode
        from alignedcut_cli.store.canonical import file_digest

        entry = self._images[number]
        path = self._root / entry["path"] if self._root else None
        if path and path.is_file() and file_digest(path) == entry["sha256"]:
            photo = decode(path, 256)
            photo.thumbnail((256, 256))
            return photo
        if not self._said:
            self._frame.output.note(
                f"{path or entry['path']} is gone or has changed: pictures go without; see --images"
            )
            self._said = True
        return None
