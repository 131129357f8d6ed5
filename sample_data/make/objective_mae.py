"""tiny-mae: what is hidden is reconstructed from what is seen (masked autoencoding, with MaskFeat's targets)."""

import math

import torch
from timm.models import VisionTransformer
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import normalise
from .networks import NETWORKS, assemble, embed_patches, run_blocks

__all__ = ["MaskedObjective", "describe"]

_CELL, _DIRECTIONS = 4, 8


def describe(images: Tensor, side: int = 8) -> Tensor:
    """Descriptors (B, P, 56) of the patches of images (B, 3, H, W) in 0..1.

    For each of the four cells of a patch: square roots of gradient energy in eight directions (a histogram of oriented
    gradients, divided by the patch's norm), the mean colour, and the standard deviation of each colour channel.
    """
    grey = images.mean(1, keepdim=True)
    across = F.pad(grey[..., 2:] - grey[..., :-2], (1, 1, 0, 0))
    down = F.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))
    angles = [math.tau * k / _DIRECTIONS for k in range(_DIRECTIONS)]
    energy = torch.cat([(across * math.cos(a) + down * math.sin(a)).clamp_min(0).square() for a in angles], dim=1)
    cells = F.avg_pool2d(torch.cat([energy, images, images.square()], dim=1), _CELL)  # (B, 14, H / 4, W / 4)
    gradients, mean, square = cells.split([_DIRECTIONS, 3, 3], dim=1)
    deviation = (square - mean.square()).clamp_min(1e-6).sqrt()
    histogram = F.unfold(gradients, side // _CELL, stride=side // _CELL).sqrt()  # (B, 32, P)
    histogram = 6 * histogram / (histogram.square().sum(1, keepdim=True) + 0.01).sqrt()
    colour = F.unfold(torch.cat([4 * (mean - 0.5), 8 * deviation], dim=1), side // _CELL, stride=side // _CELL)
    return torch.cat([histogram, colour], dim=1).mT


class MaskedObjective(nn.Module):
    """Mean squared error of patch descriptors, hidden and seen.

    The encoder gets the seen patches only. A shallow decoder guesses the descriptors of `asked` hidden patches; those
    of the seen patches are read linearly from the encoder's own tokens, which keeps them there.
    """

    def __init__(self, network: VisionTransformer, generator: torch.Generator, hidden: float = 0.6) -> None:
        super().__init__()
        self.network, self.generator, width = network, generator, 64
        patches = network.patch_embed.num_patches
        self.kept, self.asked = int(patches * (1 - hidden)), 40
        self.enter = nn.Linear(network.embed_dim, width)
        self.blank = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, patches, width) * 0.02)
        self.decoder = nn.Sequential(Block(width, 4, qkv_bias=True), nn.LayerNorm(width))
        self.leave, self.read = nn.Linear(width, 56), nn.Linear(network.embed_dim, 56)

    def forward(self, images: Tensor, captions: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of images (B, 3, 96, 96) in 0..1 and what to log; the captions are not looked at."""
        spec, count = NETWORKS["tiny-mae"], len(images)
        if torch.rand((), generator=self.generator) < 0.5:
            images = images.flip(3)
        target = describe(images)
        patches = embed_patches(self.network, normalise(images, spec["mean"], spec["std"]))
        order = torch.rand(patches.shape[:2], generator=self.generator).argsort(dim=1)[..., None]
        seen, asked = order[:, : self.kept], order[:, self.kept : self.kept + self.asked]
        tokens = assemble(self.network, patches.gather(1, seen.expand(-1, -1, patches.shape[2])))
        _, tokens = run_blocks(self.network, tokens)
        places = self.places.expand(count, -1, -1)
        known = self.enter(tokens) + places.gather(1, seen.expand(-1, -1, places.shape[2]))
        wanted = self.blank + places.gather(1, asked.expand(-1, -1, places.shape[2]))
        guess = self.leave(self.decoder(torch.cat([known, wanted], dim=1))[:, self.kept :])  # (B, asked, 56)
        hidden = (guess - target.gather(1, asked.expand(-1, -1, 56))).square().mean()
        shown = (self.read(tokens) - target.gather(1, seen.expand(-1, -1, 56))).square().mean()
        return hidden + 0.5 * shown, {"hidden": hidden.item(), "seen": shown.item()}

    @property
    def shipped(self) -> VisionTransformer:
        """The network whose weights are kept."""
        return self.network

    def after_step(self, progress: float) -> None:
        """Nothing to do: no teacher."""
