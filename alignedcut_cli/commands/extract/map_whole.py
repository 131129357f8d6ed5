"""Maps read in one pass over the images, with all rows stored in memory or on disk until they are multiplied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from alignedcut_cli.commands.extract.map_read import Reader
from alignedcut_cli.commands.extract.map_rows import HeldRows, Rows, ScratchRows
from alignedcut_cli.commands.extract.map_shards import MapShards, RawFiles

if TYPE_CHECKING:
    from torch import Tensor

    from alignedcut_cli.backbones.modules import Output
    from alignedcut_cli.core.maps.passes import Group

__all__ = ["read_whole"]

_SYNCED = 1 << 30
"""Bytes of rows between two fsyncs with a note of progress: the most work that an interruption can lose."""


def read_whole(
    reader: Reader,
    shards: MapShards,
    numbers: Sequence[int],
    group: Group,
    begun: int,
    note: Callable[[int], None],
    advance: Callable[[int], None],
) -> None:
    """Read the maps of one group, of which the rows of the first `begun` images are already on disk.

    `note` records their number. Progress counts all images as they are read, and again as their maps are multiplied.
    """
    n, outputs = reader.layout.sizes.images, {number: reader.layout.outputs[number] for number in numbers}
    with _opened(reader, shards, outputs, group) as rows:
        advance(begun)
        if begun < n:
            _read_images(reader, shards, outputs, rows, begun, note, advance)
        for number, share in _shares(outputs, n):
            if number in shards.writer.missing():
                _write_map(reader, shards, number, rows[number], group)
            rows.pop(number).close(keep=False)
            advance(share)


@contextmanager
def _opened(
    reader: Reader, shards: MapShards, outputs: Mapping[int, Output], group: Group
) -> Iterator[dict[int, Rows]]:
    """The rows of each map, by its number; those not consumed stay on disk."""
    n, rows = reader.layout.sizes.images, {}
    try:
        for number, output in outputs.items():
            if group.way == "disk":
                path = shards.folder / f"scratch-{number:05d}.bin"
                rows[number] = ScratchRows(path, n, output.units, reader.held)
            else:
                rows[number] = HeldRows(n, output.units, reader.held)
        yield rows
    finally:
        for one in rows.values():
            one.close(keep=True)


def _read_images(
    reader: Reader,
    shards: MapShards,
    outputs: Mapping[int, Output],
    rows: Mapping[int, Rows],
    begun: int,
    note: Callable[[int], None],
    advance: Callable[[int], None],
) -> None:
    """One pass over the images from `begun` on."""
    images, unsure = reader.layout.sizes.images, 0
    each = 4 * sum(output.units for output in outputs.values())
    numbers = {output.name: number for number, output in outputs.items()}
    with shards.raw_files(list(outputs)) as raw:

        def take(output: Output, start: int, batch: Tensor) -> None:
            rows[numbers[output.name]].write(start, batch)
            raw.put(output, start, batch)

        for count in reader.read(list(outputs.values()), begun, images, take):
            advance(count)
            begun, unsure = begun + count, unsure + count * each
            if unsure >= _SYNCED or begun == images:
                if _synced(rows, raw):
                    note(begun)
                unsure = 0


def _synced(rows: Mapping[int, Rows], raw: RawFiles) -> bool:
    """Whether rows are on disk; they are then fsynced."""
    files = [one for one in rows.values() if isinstance(one, ScratchRows)]
    for file in files:
        file.sync()
    raw.sync()
    return bool(files)


def _write_map(reader: Reader, shards: MapShards, number: int, rows: Rows, group: Group) -> None:
    from alignedcut_cli.core.maps.strips import kept_of_strips
    from alignedcut_cli.core.maps.workers import Workers

    output, layout = reader.layout.outputs[number], reader.layout
    with Workers(group.workers) as workers:
        kept = kept_of_strips(
            rows.read,
            output.units,
            layout.sizes.images,
            batch=layout.sizes.batch,
            projection=shards.projection(output),
            standardise=layout.standardise,
            workers=workers,
        )
    shards.require_finite(output, kept.gram)
    shards.write(number, kept.gram, kept.sums, kept.matrix)


def _shares(outputs: Mapping[int, Output], images: int) -> Iterator[tuple[int, int]]:
    """Each map's number, and its share of the images counted as progress, by its units."""
    total, before, done = sum(output.units for output in outputs.values()), 0, 0
    for number, output in outputs.items():
        before += output.units
        share = images * before // total - done
        done += share
        yield number, share
