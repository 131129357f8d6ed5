"""Verification of shards: their tensors are hashed, unless the files are unchanged since the last verification."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.canonical import stored_digest
from alignedcut_cli.store.files import disk_errors
from alignedcut_cli.store.hashes import SHARDS, HashCache, stamp
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.tensors import Layout

__all__ = ["Shard", "require_whole"]

Shard = tuple[Layout, str]
"""A shard and its expected content id."""
LARGE = 1 << 30
"""Bytes that take about a second to hash; for more there is a note."""


def require_whole(project: Project, shards: Sequence[Shard], *, always: bool, say: Callable[[str], None]) -> None:
    """Raise DataError, naming the file, unless the tensors of every shard match its content id.

    A verified shard is not read again while its size, inode and modification times are unchanged, unless `always`.
    """
    cache = HashCache(project, SHARDS)
    due = [one for one in shards if always or cache.get(one[0].path) != {"content": one[1]}]
    if not due:
        return
    stamps = [stamp(layout.path) for layout, _ in due]
    size = sum(bytes_ for bytes_, *_ in stamps)
    if size >= LARGE:
        say(f"verifying {len(due)} shards of {due[0][0].path.parent}, {size / LARGE:.1f} GiB")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for (layout, content), when, found in zip(due, stamps, pool.map(_content, due), strict=True):
                if found != content:
                    raise DataError(
                        "artifact-corrupt",
                        f"{layout.path}: the tensors do not match the content id in the header",
                        "Make it again; alignedcut check --deep says how",
                    )
                cache.put(layout.path, {"content": content}, when)
        finally:
            pool.shutdown(cancel_futures=True)
    cache.save()


def _content(shard: Shard) -> str:
    layout, _ = shard
    with disk_errors(layout.path):
        return stored_digest(layout.path, layout.offsets)
