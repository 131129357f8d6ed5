"""The photographs of an artifact, for its pictures."""

from __future__ import annotations

import mmap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Photos"]


class Photos:
    """Reduced copies of the photographs of an artifact; None for missing ones (noted once)."""

    def __init__(self, frame: Frame, header: Header, folder: Path | None, remedy: str = "; see --images") -> None:
        """`folder` (None: where they were read from) is looked in; `remedy` ends the note on missing ones."""
        manifests = {node["external"]["manifest"] for node in header.history if "manifest" in node["external"]}
        self._roots = [folder] if folder else frame.journal.image_roots(manifests)
        self._images = header.axes["B"]["images"]
        self._frame, self._remedy = frame, remedy
        self._lock, self._said = threading.Lock(), mmap.mmap(-1, 1)  # shared with forked processes

    def _path(self, number: int) -> Path | None:
        entry = self._images[number]
        found = (_unchanged(root / entry["path"], entry["sha256"]) for root in self._roots)
        return next((path for path in found if path), None)

    def there(self, number: int) -> bool:
        """Whether a photograph is still in place and unchanged."""
        return self._path(number) is not None

    def __call__(self, number: int) -> Image.Image | None:
        from alignedcut_cli.datasets.images import decode

        entry = self._images[number]
        if path := self._path(number):
            photo = decode(path, 256)
            photo.thumbnail((256, 256))
            return photo
        if self._first_to_say():
            place = self._roots[0] / entry["path"] if self._roots else entry["path"]
            more = f" (looked for in {len(self._roots)} folders)" if self._roots[1:] else ""
            self._frame.output.note(f"{str(place)!r} is gone or has changed{more}: pictures go without{self._remedy}")
        return None

    def _first_to_say(self) -> bool:
        """True once, in whichever thread, here or in a forked process."""
        with self._lock:
            said, self._said[0] = self._said[0], 1
            return not said


def _unchanged(path: Path, sha256: str) -> Path | None:
    """The path of an image if it still has this content; None if it is missing or has changed."""
    from alignedcut_cli.datasets.images import image_digest
    from alignedcut_cli.datasets.names import find_in_any_form

    found = find_in_any_form(path) or path
    try:
        return found if image_digest(found) == sha256 else None
    except DataError:
        return None
