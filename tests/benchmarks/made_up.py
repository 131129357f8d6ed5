"""Made-up features and responses of any size, of which the best possible prediction is known.

Image b has shared latents z_b (L,), independent, with variances that fall as k^-1. A slot's mean token is
    v_b = mean + ([z_b, own_b] A + noise_b / 2) * spectrum
with latents of the slot's own, A (2 L, D) Gaussian and a spectrum that falls as j^-1/2 over shuffled channels. A token
is the mean token plus latents and noise of its own through the same A and spectrum, so that their expectation over
tokens is v_b. Responses are sqrt(c) z map + sqrt(1 - c) noise for a map of low rank and a ceiling c in 0.1..0.6 per
voxel. The best possible prediction is that from the latents and the map themselves: its R^2 on the test images is
computed with the noise they got, and no prediction from features can be expected to exceed it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.align.scores import r_squared
from alignedcut_cli.core.align.train import Draw

__all__ = ["PAPER", "Brain", "Shape", "brain", "draw_from", "fresh", "parts", "read_shape", "slots", "write_made_up"]

_BLOCK = 1000


@dataclass(frozen=True)
class Shape:
    """How much is made: B images, n slots of D channels, N voxels, L latents, rank of the map, K tokens kept."""

    images: int
    slots: int
    width: int
    voxels: int
    latents: int = 64
    rank: int = 32
    kept: int = 4

    def scaled(self, scale: float) -> Shape:
        """The same with images, channels, voxels and latents times `scale`, none too few to work with."""
        least = {"images": 200, "width": 16, "voxels": 100, "latents": 8, "rank": 4}
        return replace(self, **{name: max(few, round(getattr(self, name) * scale)) for name, few in least.items()})


PAPER = Shape(images=10_000, slots=36, width=768, voxels=39_548)


@dataclass(frozen=True)
class Brain:
    """Responses and the noiseless signal in them, both (B, N) float32, known for any rows."""

    latents: Tensor
    mapping: Tensor
    ceiling: Tensor
    level: Tensor
    seed: int

    def signal(self, rows: slice) -> Tensor:
        """The part of the responses (rows, N) that the images make: the best possible prediction."""
        return torch.addmm(self.level, self.latents[rows], self.mapping)

    def responses(self, rows: slice) -> Tensor:
        """Signal and noise (rows, N), the same whenever the same rows are asked for."""
        noise = torch.randn(*self.signal(rows).shape, generator=fresh(self.seed, 3, rows.start))
        return self.signal(rows) + (1 - self.ceiling).sqrt() * noise


def fresh(*numbers: int) -> torch.Generator:
    """A random stream named by `numbers`."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1))


def parts(images: int) -> tuple[Tensor, Tensor, slice]:
    """(rows to fit, rows held out, test rows): the last tenth is for the test, a tenth of the rest is held out."""
    known = images - images // 10
    kept = known - known // 10
    return torch.arange(kept), torch.arange(kept, known), slice(known, images)


def _variances(latents: int) -> Tensor:
    falling = 1 / torch.arange(1, latents + 1)
    return falling / falling.sum()


def _latents(*size: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*size, generator=generator) * _variances(size[-1]).sqrt()


def brain(shape: Shape, seed: int = 0) -> Brain:
    """The responses to all images of `shape`; `Brain.latents` (B, L) are the images' shared latents."""
    generator = fresh(seed, 1)
    latents = _latents(shape.images, shape.latents, generator=generator)
    mapping = torch.randn(shape.latents, shape.rank, generator=generator) @ torch.randn(
        shape.rank, shape.voxels, generator=generator
    )
    ceiling = 0.1 + 0.5 * torch.rand(shape.voxels, generator=generator)
    spread = (_variances(shape.latents)[:, None] * mapping.square()).sum(0).sqrt()  # (N,)
    level = torch.randn(shape.voxels, generator=generator)
    return Brain(latents, mapping * (ceiling.sqrt() / spread), ceiling, level, seed)


def slots(shape: Shape, latents: Tensor, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Slot by slot the mean tokens (B, D) float32 and K tokens (B, K, D) float16 of images with shared `latents`."""
    images, count = latents.shape
    patches = _latents(images, shape.kept, count, generator=fresh(seed, 2))  # one place of an image in all slots
    for number in range(shape.slots):
        generator = fresh(seed, 4, number)
        loading = torch.randn(2 * count, shape.width, generator=generator)
        order = torch.randperm(shape.width, generator=generator)
        spectrum = (1 + order).rsqrt()
        mean = 2 * spectrum.square().mean().sqrt() * torch.randn(shape.width, generator=generator)

        def features(shared: Tensor, *, stream=generator, loading=loading, spectrum=spectrum) -> Tensor:
            own = _latents(*shared.shape, generator=stream)
            noise = torch.randn(*shared.shape[:-1], shape.width, generator=stream)
            return (torch.cat([shared, own], -1) @ loading + noise / 2) * spectrum

        pooled = mean + features(latents)
        yield pooled, (pooled[:, None] + features(patches)).half()


def draw_from(tokens: Sequence[np.ndarray], device: torch.device) -> Draw:
    """Draws of m different tokens of the given images, the same places in every slot, from arrays (B, K, D)."""
    kept = tokens[0].shape[1]
    flat = [array.reshape(-1, array.shape[-1]) for array in tokens]

    def draw(rows: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
        places = (rows.cpu()[:, None] * kept + torch.arange(kept)).flatten()
        drawn = places[torch.randperm(len(places), generator=generator)[:count]].sort().values.numpy()
        return [torch.from_numpy(array[drawn]).to(device).float() for array in flat]

    return draw


def write_made_up(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Write pooled-NN.npy, tokens-NN.npy, known.npy and test.npy (responses), and shape.json with the best R^2."""
    world = brain(shape, seed)
    for number, (pooled, tokens) in enumerate(slots(shape, world.latents, seed)):
        np.save(folder / f"pooled-{number:02d}.npy", pooled.numpy())
        np.save(folder / f"tokens-{number:02d}.npy", tokens.numpy())
    test = parts(shape.images)[2]
    known = np.lib.format.open_memmap(folder / "known.npy", "w+", np.float32, (test.start, shape.voxels))
    for start in range(0, test.start, _BLOCK):
        rows = slice(start, min(start + _BLOCK, test.start))
        known[rows] = world.responses(rows).numpy()
    known.flush()
    aim = world.responses(test)
    np.save(folder / "test.npy", aim.numpy())
    best = float(r_squared(world.signal(test), aim).mean())
    (folder / "shape.json").write_text(json.dumps({"shape": asdict(shape), "best": best}))


def read_shape(folder: Path) -> tuple[Shape, float]:
    """What `write_made_up` was asked for, and the best possible mean R^2 on the test images."""
    found = json.loads((folder / "shape.json").read_text())
    return Shape(**found["shape"]), found["best"]
