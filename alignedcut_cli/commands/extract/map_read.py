"""Running images through a network: the rows of the wanted outputs, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.commands.extract.map_layout import Layout, map_device

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from alignedcut_cli.backbones.modules import Output
    from alignedcut_cli.backbones.network import Network

__all__ = ["Differing", "Pixels", "Reader"]


class Differing(Exception):
    """Outputs that were equal on the first images differ on others."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names


class Pixels:
    """The images in the network's size, decoded by all cores between forward passes; cached for the next pass if `keep`."""

    def __init__(self, network: Network, paths: Sequence[Path], *, keep: bool) -> None:
        self._network, self._paths, self._keep = network, paths, keep
        self._kept: dict[int, np.ndarray] = {}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images start to stop: (b, size, size, 3) uint8."""
        import numpy as np

        from alignedcut_cli.datasets.images import decode

        preprocess = self._network.preprocess
        if start in self._kept:
            return self._kept[start]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            resized = pool.map(lambda path: preprocess.resize(decode(path, preprocess.size)), self._paths[start:stop])
            pixels = np.stack(list(resized))
        if self._keep:
            self._kept[start] = pixels
        return pixels


class Reader:
    """A network and its input images. `held` is the device of rows and their products."""

    def __init__(self, network: Network, layout: Layout, paths: Sequence[Path]) -> None:
        self.network, self.layout = network, layout
        self.device = next(network.module.parameters()).device
        self.held = map_device(self.device)
        self._pixels = Pixels(network, paths, keep=layout.keeps_pixels)

    def read(
        self, outputs: Sequence[Output], first: int, compared: int, take: Callable[[Output, int, Tensor], None]
    ) -> Iterator[int]:
        """Run the images from `first` on through the network in batches, and pass the rows (b, D) of each output to `take`.

        `take` gets the output, the batch's first image and the rows, on the network's device. Yields the number of images
        after each batch. Raises Differing if a duplicate of an output differs from it in an image below `compared`.
        """
        from alignedcut_cli.backbones.modules import read_outputs

        n, batch = self.layout.sizes.images, self.layout.sizes.batch
        wanted = sorted([*outputs, *self.layout.twins_of(outputs)], key=lambda one: one.place)
        for start in range(first, n, batch):
            pixels = self._pixels.read(start, min(start + batch, n))
            images = self.network.preprocess.normalise(pixels, self.device)

            def taken(output: Output, rows: Tensor, start: int = start) -> None:
                take(output, start, rows)

            differing = read_outputs(self.network, images, wanted, taken, compare=start < compared)
            if differing:
                raise Differing(differing)
            yield len(pixels)
