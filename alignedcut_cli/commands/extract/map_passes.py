"""Maps read in passes that hold the rows of some images; each of several passes ends with a panel on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignedcut_cli.commands.extract.map_read import Reader
from alignedcut_cli.commands.extract.map_shards import MapShards
from alignedcut_cli.errors import AlignedcutError
from alignedcut_cli.store.artifact import map_tensor, read_layout, write_tensors
from alignedcut_cli.store.canonical import canonical_json, tensor_digest
from alignedcut_cli.store.header import KEY
from alignedcut_cli.store.maps import map_tensors

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from alignedcut_cli.backbones.modules import Output
    from alignedcut_cli.core.maps.block import Block
    from alignedcut_cli.core.maps.passes import Group
    from alignedcut_cli.core.maps.workers import Workers

__all__ = ["panels", "read_in_passes"]


def panels(folder: Path) -> list[Path]:
    """The panels of the finished passes of an unfinished group."""
    return sorted(folder.glob("panel-*.safetensors"))


def read_in_passes(
    reader: Reader, shards: MapShards, numbers: Sequence[int], group: Group, advance: Callable[[int], None]
) -> None:
    """Read the maps of one group: written after a single pass, or as panels joined after the last pass."""
    from alignedcut_cli.core.maps.workers import Workers

    with Workers(group.workers) as workers:
        passes = _Passes(reader, shards, numbers, workers)
        if len(group.blocks) == 1:
            passes.write_maps(passes.read_block(*group.blocks[0], advance))
            return
        paths = [shards.folder / f"panel-{first:07d}.safetensors" for first, _ in group.blocks]
        for (first, stop), path in zip(group.blocks, paths, strict=True):
            if passes.is_whole(path, first):
                advance(group.sizes.images - first)
            else:
                passes.write_panel(path, first, passes.read_block(first, stop, advance))
    passes.join(paths)


class _Passes:
    """The passes over the maps `numbers` of a set."""

    def __init__(self, reader: Reader, shards: MapShards, numbers: Sequence[int], workers: Workers) -> None:
        self.reader, self.shards, self.numbers, self.workers = reader, shards, list(numbers), workers
        self.outputs = [reader.layout.outputs[number] for number in numbers]

    def read_block(self, first: int, stop: int, advance: Callable[[int], None]) -> dict[str, Block]:
        """One pass: the images `first` to `stop` are held, these and all later ones read."""
        from alignedcut_cli.core.maps.block import Block

        layout, held = self.reader.layout, self.reader.held
        blocks = {
            output.name: Block(
                output.units, first, stop, images=layout.sizes.images, batch=layout.sizes.batch, device=held
            )
            for output in self.outputs
        }
        with self.shards.raw_files(self.numbers) as files:

            def take(output: Output, start: int, rows: Tensor) -> None:
                blocks[output.name].add(start, rows.to(held), self.workers)
                if start < stop:
                    files.put(output, start, rows)

            for count in self.reader.read(self.outputs, first, stop, take):
                advance(count)
        for output in self.outputs:
            self.shards.require_finite(output, blocks[output.name].gram)
        return blocks

    def write_maps(self, blocks: dict[str, Block]) -> None:
        """Write the shards of maps whose block is all images."""
        for number, output in zip(self.numbers, self.outputs, strict=True):
            block = blocks.pop(output.name)
            self.shards.write(number, block.gram, block.sums, self._matrix(output, block))

    def _matrix(self, output: Output, block: Block) -> Tensor:
        projection = self.shards.projection(output)
        return block.rows if projection is None else block.project(projection, self.workers)

    def write_panel(self, path: Path, first: int, blocks: dict[str, Block]) -> None:
        """Write the results of a pass."""
        tensors: dict[str, np.ndarray] = {}
        for place, output in enumerate(self.outputs):
            block = blocks.pop(output.name)
            matrix = self._matrix(output, block).cpu().contiguous()
            tensors |= map_tensors(place, block.gram.numpy(), block.sums.numpy(), matrix.numpy())
        write_tensors(path, tensors, self._header(first, tensor_digest(tensors)))

    def _header(self, first: int, content: str) -> dict[str, Any]:
        """The header that identifies the pass of a panel."""
        return {
            "schema": "alignedcut.kept/1",
            "recipe": self.shards.plan.recipe.identity,
            **self.shards.numerics,
            "maps": [output.name for output in self.outputs],
            "first": first,
            "batch": self.reader.layout.sizes.batch,
            "content": content,
        }

    def is_whole(self, path: Path, first: int) -> bool:
        """Whether the panel of exactly this pass exists."""
        try:
            layout = read_layout(path)
        except AlignedcutError:
            return False
        content = tensor_digest({name: map_tensor(layout, name) for name in layout.offsets})
        return layout.metadata.get(KEY) == canonical_json(self._header(first, content))

    def join(self, paths: Sequence[Path]) -> None:
        """Write the shards of maps from the panels of all passes, one map at a time."""
        import numpy as np
        import torch

        layouts = [read_layout(path) for path in paths]
        missing = set(self.shards.writer.missing())
        for place, number in enumerate(self.numbers):
            if number not in missing:
                continue
            gram, sums, matrix = (
                torch.from_numpy(np.concatenate([map_tensor(layout, name) for layout in layouts]))
                for name in map_tensors(place, *[np.zeros(0)] * 3)
            )
            self.shards.write(number, gram, sums, matrix)
