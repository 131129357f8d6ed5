"""The shards of a set of maps in the making, one per map, and raw maps where these are stored."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from alignedcut_cli.commands.extract.map_layout import Layout, map_device
from alignedcut_cli.commands.extract.map_plan import MapPlan
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.features import FeatureWriter
from alignedcut_cli.store.files import disk_errors, remove
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.maps import map_meanings, map_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from alignedcut_cli.backbones.modules import Output
    from alignedcut_cli.backbones.network import Network
    from alignedcut_cli.core.maps.projection import Projection

__all__ = ["MapShards", "RawFiles"]


class RawFiles:
    """Open files for the rows of those outputs of a group that are stored raw in addition to their projection."""

    def __init__(self, files: dict[str, BinaryIO]) -> None:
        self._files = files

    def put(self, output: Output, start: int, rows: Tensor) -> None:
        """Write the rows (b, D) of the images from `start` on, if this output is stored raw."""
        file = self._files.get(output.name)
        if file is not None:
            file.seek(4 * start * output.units)
            file.write(rows.cpu().contiguous().numpy().data)

    def sync(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())


class MapShards:
    """Writes the shards of a planned set of maps, and commits it."""

    def __init__(self, plan: MapPlan, network: Network, layout: Layout) -> None:
        self.plan, self.network, self.layout = plan, network, layout
        ranges = [(number, number + 1) for number in range(len(layout.outputs))]
        self.writer = FeatureWriter(plan.folder, plan.recipe, ranges, along="maps")

    @property
    def folder(self) -> Path:
        """The folder of work in progress."""
        return self.writer.partial

    @property
    def numerics(self) -> dict[str, str]:
        import torch

        return {
            "torch": torch.__version__,
            "device": next(self.network.module.parameters()).device.type,
            "computed": "float32, added up in float64",
            "stored": "float64 and float32",
        }

    def projection(self, output: Output) -> Projection | None:
        """The projection of an output, None if it is stored whole."""
        from alignedcut_cli.core.maps.projection import Projection

        if not self.layout.projected(output):
            return None
        device = map_device(next(self.network.module.parameters()).device)
        return Projection(output.units, self.layout.dimensions, self.plan.recipe.params["seed"], device)

    def write(self, number: int, gram: Tensor, sums: Tensor, matrix: Tensor) -> None:
        """Write a map's shard from the upper triangle of G, which is mirrored in place, the sums and X."""
        import numpy as np

        from alignedcut_cli.core.maps.block import mirror

        output, raw = self.layout.outputs[number], None
        if self.layout.is_raw(output):
            raw = np.memmap(self._raw_path(number), "<f4", mode="r", shape=(len(gram), output.units))
        products = mirror(gram).numpy()
        tensors = map_tensors(number, products, sums.numpy(), np.ascontiguousarray(matrix.cpu().numpy()), raw)
        axes = {"B": {"size": len(gram)}}
        self.writer.write(number, tensors, map_meanings(number, output.name), numerics=self.numerics, axes=axes)
        remove(self._raw_path(number))

    def require_finite(self, output: Output, gram: Tensor) -> None:
        """Raise DataError for products that are infinite or NaN."""
        if not bool(gram.isfinite().all()):
            told = f"{output.name} of {self.network.id.label} gives NaN or infinity"
            raise DataError("feature-not-finite", told, "Check the weights, or leave it out by --modules")

    @contextmanager
    def raw_files(self, numbers: Sequence[int]) -> Iterator[RawFiles]:
        """The raw files of some maps, fsynced at the end."""
        with ExitStack() as stack, disk_errors(self.folder):
            files: dict[str, BinaryIO] = {}
            for number in numbers:
                if self.layout.is_raw(self.layout.outputs[number]):
                    path = self._raw_path(number)
                    file = stack.enter_context(path.open("r+b" if path.exists() else "w+b"))
                    files[self.layout.outputs[number].name] = file
            found = RawFiles(files)
            yield found
            found.sync()

    def _raw_path(self, number: int) -> Path:
        return self.folder / f"raw-{number:05d}.bin"

    def commit(self) -> Header:
        """Commit the set under its name, all shards being written."""
        from alignedcut_cli.backbones.network import activation_of

        numerics = {**self.numerics, "activation": activation_of(self.network.module)}
        return self.writer.commit(numerics=numerics, axes=self._axes())

    def _axes(self) -> dict[str, Any]:
        slots = [
            {
                "model": self.network.id.label,
                "layer": number,
                "tap": "maps",
                "name": output.name,
                "kind": output.kind,
                "shape": list(output.shape),
                "units": output.units,
                "projected": self.layout.projected(output),
                "duplicates": self.layout.duplicates(output),
            }
            for number, output in enumerate(self.layout.outputs)
        ]
        images = [entry.as_object() for entry in self.plan.manifest.images]
        return {
            "B": {"size": len(images), "images": images},
            "S": {"size": len(slots), "slots": slots},
        }
