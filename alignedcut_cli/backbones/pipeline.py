"""The extraction loop: decode, forward, keep; on a GPU the next images are decoded while the model runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.backbones.load import Backbone
from alignedcut_cli.core.numerics import halving, stream
from alignedcut_cli.datasets.images import decode
from alignedcut_cli.errors import DataError, UsageError

__all__ = [
    "DTYPES",
    "Reading",
    "TokenChoice",
    "batch_size_for",
    "extract_shards",
    "parse_tokens",
    "read_shards",
    "require_range",
    "tensor_meanings",
]

DTYPES = {"float16": torch.float16, "float32": torch.float32}
LOOKAHEAD = {"cpu": 1, "cuda": 3, "mps": 3}
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class TokenChoice:
    """Which tokens are kept: all, only their mean, or the mean and `sampled` random ones per image and layer."""

    every: bool
    sampled: int = 0


def parse_tokens(text: str, tokens: int) -> TokenChoice:
    """The choice of `--tokens` for a model with P = `tokens`: all, pooled, or sample:K with 1 <= K <= P."""
    if text in ("all", "pooled"):
        return TokenChoice(text == "all")
    kind, _, count = text.partition(":")
    if kind != "sample" or not count.isdecimal() or not 1 <= int(count) <= tokens:
        raise UsageError(
            "bad-tokens", f"--tokens {text!r} cannot be", f"Give all, pooled, or sample:K with K from 1 to {tokens}"
        )
    return TokenChoice(False, int(count))


def batch_size_for(text: str, device: torch.device) -> int:
    """The images per forward pass that `--batch-size` sets; `auto` is 16 on a CPU and 64 on a GPU."""
    if text == "auto":
        return 16 if device.type == "cpu" else 64
    if not text.isdecimal() or int(text) < 1:
        raise UsageError("bad-batch-size", f"--batch-size {text!r} is no number", "Give auto, or a number from 1")
    return int(text)


def tensor_meanings(layers: Sequence[int], tokens: TokenChoice) -> dict[str, tuple[str, str]]:
    """(shape axes, meaning) of every tensor of a feature set."""
    meanings: dict[str, tuple[str, str]] = {}
    for layer in layers:
        meanings[f"pooled.{layer:02d}"] = ("B D", f"mean over all tokens of layer {layer}")
        if tokens.every:
            meanings[f"tokens.{layer:02d}"] = ("B P D", f"tokens of layer {layer}, class token first, then row by row")
        if tokens.sampled:
            meanings[f"sampled.{layer:02d}"] = ("B K D", f"randomly drawn tokens of layer {layer}")
            meanings[f"drawn.{layer:02d}"] = ("B K", f"which tokens of layer {layer} were drawn, ascending")
    return meanings


def bytes_per_image(widths: Sequence[int], tokens: Sequence[int], choice: TokenChoice, dtype: str) -> int:
    """Bytes per image on disk, for layers of these widths and numbers of tokens."""
    size = DTYPES[dtype].itemsize
    total = 0
    for width, count in zip(widths, tokens, strict=True):
        kept = (count if choice.every else 0) + choice.sampled
        total += width * (4 + kept * size) + 4 * choice.sampled
    return total


def extract_shards(
    backbone: Backbone,
    paths: Sequence[Path],
    shards: Sequence[tuple[int, int, int]],
    layers: Sequence[int],
    *,
    taps: Sequence[str] = ("attn",),
    tokens: TokenChoice = TokenChoice(True),
    dtype: str = "float16",
    batch_size: int = 16,
    seed: int = 0,
    workers: int = 2,
    advance: Callable[[int], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[int, dict[str, dict[str, np.ndarray]]]]:
    """The tensors of each tap of each shard (number, start, stop) in turn, as named in `tensor_meanings`.

    Raises DataError, naming the layer, for features that are not finite or exceed the range of `dtype`.
    """
    label = backbone.id.label

    def keep(features: Mapping[str, Sequence[Tensor]], ids: Sequence[int]) -> dict[tuple[str, str], Tensor]:
        return {
            (tap, name): tensor
            for tap in taps
            for name, tensor in _keep(features[tap], layers, ids, tokens, dtype, seed, label).items()
        }

    reading = Reading(layers, tuple(taps), batch_size, workers, say)
    for number, found in read_shards(backbone, paths, shards, reading, keep, advance):
        yield number, {tap: {name: array for (of, name), array in found.items() if of == tap} for tap in taps}


@dataclass(frozen=True)
class Reading:
    """What is read of each image, how many images go through the model at once, and how many threads decode."""

    layers: Sequence[int]
    taps: tuple[str, ...]
    batch_size: int
    workers: int
    say: Callable[[str], None]


def read_shards(
    backbone: Backbone,
    paths: Sequence[Path],
    shards: Sequence[tuple[int, int, int]],
    reading: Reading,
    keep: Callable[[Mapping[str, Sequence[Tensor]], Sequence[int]], dict[Key, Tensor]],
    advance: Callable[[int], None],
) -> Iterator[tuple[int, dict[Key, np.ndarray]]]:
    """Of each shard (number, start, stop) in turn what `keep` makes of its batches, joined along the images.

    `keep` gets a batch's features (of each tap those of each layer, (B, P, D)) and the numbers of its images. Batches
    never cross a shard, so that a resumed run computes the same as an uninterrupted one.
    """
    device = next(backbone.module.parameters()).device
    batches = [
        (number, list(range(first, min(first + reading.batch_size, stop))))
        for number, start, stop in shards
        for first in range(start, stop, reading.batch_size)
    ]
    size = reading.batch_size
    # On a CPU the model's threads synchronise at every layer, so a decoder that takes one core stalls them all: the next
    # batch is decoded by all cores between two forward passes. With a GPU, decoding overlaps with the forward pass.
    lookahead = LOOKAHEAD[device.type]
    with ThreadPoolExecutor(reading.workers) as pool:
        waiting: deque[list[Future[np.ndarray]]] = deque()
        ahead = iter(batches)
        parts: list[dict[Key, Tensor]] = []
        for position, (number, ids) in enumerate(batches):
            while len(waiting) < lookahead and (coming := next(ahead, None)):
                waiting.append([pool.submit(_decode, backbone, paths[image]) for image in coming[1]])
            pixels = np.stack([future.result() for future in waiting.popleft()])

            def forward(step: int, pixels: np.ndarray = pixels) -> dict[str, list[Tensor]]:
                nonlocal size
                size = step
                runs = [_forward(backbone, pixels[i : i + step], reading, device) for i in range(0, len(pixels), step)]
                return {
                    tap: [torch.cat(layer) for layer in zip(*(run[tap] for run in runs), strict=True)]
                    for tap in reading.taps
                }

            parts.append(keep(halving(forward, size, reading.say, "batch size"), ids))
            advance(len(ids))
            if position + 1 == len(batches) or batches[position + 1][0] != number:
                yield number, {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
                parts = []


def _decode(backbone: Backbone, path: Path) -> np.ndarray:
    return backbone.preprocess.resize(decode(path, backbone.preprocess.size))


@torch.inference_mode()
def _forward(backbone: Backbone, pixels: np.ndarray, reading: Reading, device: torch.device) -> dict[str, list[Tensor]]:
    return backbone.tap_features(backbone.preprocess.normalise(pixels, device), reading.layers, reading.taps)


def _keep(
    features: Sequence[Tensor],
    layers: Sequence[int],
    ids: Sequence[int],
    tokens: TokenChoice,
    dtype: str,
    seed: int,
    label: str,
) -> dict[str, Tensor]:
    """The tensors stored for one batch, on the CPU."""
    kept: dict[str, Tensor] = {}
    draw = cache(lambda wide: torch.stack([draw_tokens(wide, tokens.sampled, seed, image) for image in ids]))
    for layer, feature in zip(layers, features, strict=True):
        require_range(feature, layer, dtype, label)
        kept[f"pooled.{layer:02d}"] = feature.mean(1).float().cpu()
        if tokens.every:
            kept[f"tokens.{layer:02d}"] = feature.to(DTYPES[dtype]).cpu()
        if tokens.sampled:
            drawn = draw(feature.shape[1])
            rows = torch.arange(len(ids)).unsqueeze(1)
            kept[f"sampled.{layer:02d}"] = (
                feature[rows.to(feature.device), drawn.to(feature.device)].to(DTYPES[dtype]).cpu()
            )
            kept[f"drawn.{layer:02d}"] = drawn.int()
    return kept


def draw_tokens(tokens: int, count: int, seed: int, image: int) -> Tensor:
    """`count` distinct tokens of one image, ascending, the same in all layers and models with one grid: (count,) int64."""
    generator = torch.Generator().manual_seed(stream(seed, "tokens", image))
    return torch.randperm(tokens, generator=generator)[:count].sort().values


def require_range(feature: Tensor, layer: int, dtype: str, label: str) -> None:
    """Raise DataError, naming the layer, for features that are not finite or do not fit `dtype`."""
    peak = float(torch.stack(feature.aminmax()).abs().max())
    limit = torch.finfo(DTYPES[dtype]).max
    if peak <= limit:
        return
    if np.isfinite(peak):
        raise DataError(
            "feature-overflow",
            f"layer {layer} of {label} reaches {peak:.4g}, over the largest {dtype} ({limit:.4g})",
            "Use --dtype float32",
        )
    raise DataError("feature-not-finite", f"layer {layer} of {label} gives NaN or infinity", "Check the weights")
