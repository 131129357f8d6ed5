"""The photographs that an extraction reads: every file is checked; bad ones are refused, or skipped and named."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.run import Frame

if TYPE_CHECKING:
    from alignedcut_cli.datasets.images import Manifest

__all__ = ["checked_images", "stdin_lines"]

_NAMED = 5


def stdin_lines() -> Iterator[str]:
    """The lines of stdin as file names, in any encoding."""
    binary = getattr(sys.stdin, "buffer", None)
    yield from (map(os.fsdecode, binary) if binary else sys.stdin or ())


def checked_images(frame: Frame, paths: Sequence[Path], on_bad_image: str, *, write: bool) -> Manifest:
    """Check every image; those already checked and unchanged come from the hash cache.

    With `write`, the cache is saved. Raises DataError for bad images, unless they are to be skipped and some are good.
    """
    from alignedcut_cli.datasets.images import ImageEntry, read_manifest
    from alignedcut_cli.store.hashes import HashCache

    cache, wanted = HashCache(frame.project), {field.name for field in fields(ImageEntry)}

    def known(path: Path) -> ImageEntry | None:
        facts = cache.get(path)
        return ImageEntry(**facts) if facts and facts.keys() == wanted else None

    with frame.output.progress("checking images", len(paths), "images") as advance:
        manifest, bad = read_manifest(paths, known, os.cpu_count() or 1, advance)
    if bad:
        told = "; ".join(f"{str(one.path)!r} {one.reason}" for one in bad[:_NAMED])
        told += f"; and {len(bad) - _NAMED} more" if bad[_NAMED:] else ""
        if on_bad_image == "fail" or not manifest.images:
            raise DataError(
                "bad-image",
                f"{len(bad)} of {len(paths)} images cannot be used: {told}",
                "Repair or remove them, or give --on-bad-image skip",
                images=[{"path": str(one.path), "reason": one.reason} for one in bad],
            )
        frame.output.note(f"left out {len(bad)} of {len(paths)} images: {told}")
    if write:
        frame.project.create()
        for entry, path in zip(manifest.images, manifest.paths(), strict=True):
            if known(path) is None:
                cache.put(path, entry.as_object())
        cache.save()
    return manifest
