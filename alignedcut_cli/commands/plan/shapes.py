"""The shapes of a study: slots of models, and operations of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alignedcut_cli.errors import UsageError
from alignedcut_cli.frame.config import parse_layers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["Extraction", "Shape"]


@dataclass(frozen=True)
class Shape:
    """The slots of one model: tokens P and width D of each, bytes stored and operations of a forward pass per image,
    up to the last tap that is read."""

    label: str
    tokens: tuple[int, ...]
    widths: tuple[int, ...]
    bytes_per_image: int
    operations: float

    @property
    def nodes(self) -> int:
        """Nodes per image, over all slots."""
        return sum(self.tokens)


@contextmanager
def counting(module: nn.Module) -> Iterator[list[int]]:
    """A list to which every linear and convolutional layer that runs appends its operations: 2 per weight and position."""
    from torch import nn

    done: list[int] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        done.append(2 * layer.weight.numel() * (output.numel() // len(layer.weight)))

    hooks = [one.register_forward_hook(count) for one in module.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    try:
        yield done
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Extraction:
    """The options of `extract` for each model, and the device; `dim` are aligned channels."""

    tap: str
    layers: str
    image_size: int | None
    tokens: str
    dtype: str
    dim: int | None
    device: torch.device

    def measured(self, model: str, folder: Path) -> tuple[Shape, float]:
        """The shape of one model with random weights, and its images/s. Writes temporary files in `folder`.

        Raises UsageError for options that cannot be extracted, or that keep no nodes to cut.
        """
        from alignedcut_cli.backbones.load import WeightsFile, build_backbone
        from alignedcut_cli.backbones.pipeline import bytes_per_image, parse_tokens
        from alignedcut_cli.backbones.registry import parse_model
        from alignedcut_cli.commands.plan.rates import images_per_second

        backbone = build_backbone(parse_model(model), self.image_size, 0)
        layers = parse_layers(self.layers, len(backbone.blocks))
        counts = [backbone.tokens_of(layer) for layer in layers]
        choice = parse_tokens(self.tokens, min(counts))
        if not choice.every and not choice.sampled:
            raise UsageError("tokens-missing", "--tokens pooled keeps no nodes to cut", "Give all, or sample:K")
        with counting(backbone.module) as done:
            widths = backbone.widths(layers, self.tap)
        # of the last block attention runs too, unless its q, k or v is the last that is read
        attending = layers[-1] + (self.tap not in ("q", "k", "v"))
        done.append(sum(4 * backbone.tokens_of(layer) ** 2 * widths[0] for layer in range(attending)))
        kept = [choice.sampled or count for count in counts]
        size = bytes_per_image(widths, counts, choice, self.dtype)
        shape = Shape(backbone.id.label, tuple(kept), tuple(widths), size, float(sum(done)))
        loaded = backbone.load(WeightsFile(None), self.device)
        speed = images_per_second(loaded, layers, self.tap, choice, self.dtype, self.device, folder)
        return shape, speed
