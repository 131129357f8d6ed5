"""tiny-mae: what is hidden is reconstructed from what is seen (masked autoencoding)."""

import torch
from timm.models import VisionTransformer
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import colour_jitter, normalise, views
from .networks import NETWORKS, assemble, embed_patches, run_blocks

__all__ = ["MaskedObjective"]


class MaskedObjective(nn.Module):
    """Mean squared error of hidden patches' pixels, normalised by patch: a shallow decoder guesses `asked` of them."""

    def __init__(
        self, network: VisionTransformer, generator: torch.Generator, hidden: float = 0.7, asked: int = 48
    ) -> None:
        super().__init__()
        self.network, self.generator, self.hidden, self.asked, width = network, generator, hidden, asked, 64
        patches = network.patch_embed.num_patches
        self.enter = nn.Linear(network.embed_dim, width)
        self.blank = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, patches, width) * 0.02)
        self.decoder = nn.Sequential(*(Block(width, 4, qkv_bias=True) for _ in range(2)), nn.LayerNorm(width))
        self.leave = nn.Linear(width, 3 * network.patch_embed.patch_size[0] ** 2)

    def forward(self, images: Tensor, captions: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of images (B, 3, 96, 96) in 0..1 and what to log; the captions are not looked at."""
        spec, side = NETWORKS["tiny-mae"], self.network.patch_embed.patch_size[0]
        images = colour_jitter(views(images, 96, (0.6, 1.05), True, self.generator), 0.2, self.generator)
        images = normalise(images, spec["mean"], spec["std"])
        target = F.unfold(images, side, stride=side).mT  # (B, P, 3 side side)
        target = (target - target.mean(2, keepdim=True)) / (target.var(2, keepdim=True) + 1e-2).sqrt()
        patches = embed_patches(self.network, images)
        kept = int(patches.shape[1] * (1 - self.hidden))
        order = torch.rand(patches.shape[:2], generator=self.generator).argsort(dim=1)[..., None]
        seen = patches.gather(1, order[:, :kept].expand(-1, -1, patches.shape[2]))
        _, tokens = run_blocks(self.network, assemble(self.network, seen))
        asked = order[:, kept : kept + self.asked]
        places = self.places.expand(len(images), -1, -1)
        known = self.enter(tokens) + places.gather(1, order[:, :kept].expand(-1, -1, places.shape[2]))
        wanted = self.blank + places.gather(1, asked.expand(-1, -1, places.shape[2]))
        guess = self.leave(self.decoder(torch.cat([known, wanted], dim=1))[:, kept:])  # (B, asked, 3 side side)
        return (guess - target.gather(1, asked.expand(-1, -1, target.shape[2]))).square().mean(), {}

    @property
    def shipped(self) -> VisionTransformer:
        """The network whose weights are kept."""
        return self.network

    def after_step(self, progress: float) -> None:
        """Nothing to do: no teacher."""
