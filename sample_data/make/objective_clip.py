"""tiny-clip: an image and the words of its caption agree (sigmoid loss, as in SigLIP)."""

import math

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import colour_jitter, normalise, views
from .networks import NETWORKS, assemble, embed_patches, run_blocks
from .scenes import BACKGROUNDS, CATEGORIES, VOCABULARY

__all__ = ["CaptionObjective"]

_ATTRIBUTE = 0.15
"""Weight of a word for where, how large or which colour, against 1 for a word that names a thing or a place."""


class CaptionObjective(nn.Module):
    """Sigmoid losses of images against single caption words and against whole captions (bags of words) of the batch.

    A word is looked for in every patch and in the class token (a soft maximum over patches, as in FILIP), a whole
    caption in the class token and the mean patch.
    """

    def __init__(self, network: VisionTransformer, generator: torch.Generator, kept: int = 48) -> None:
        super().__init__()
        self.network, self.generator, self.kept = network, generator, kept
        width = network.embed_dim
        self.words = nn.Parameter(torch.randn(len(VOCABULARY), width) * width**-0.5)
        self.from_class, self.from_patches = nn.Linear(width, width), nn.Linear(width, width)
        self.caption = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.weight = torch.full((len(VOCABULARY),), _ATTRIBUTE)
        self.weight[: len(CATEGORIES) + len(BACKGROUNDS)] = 1.0
        self.weight /= self.weight.sum()
        self.scale = nn.Parameter(torch.tensor([2.3, 2.3, 2.3]))
        self.word_bias = nn.Parameter(torch.full((len(VOCABULARY),), -4.0))
        self.pair_bias = nn.Parameter(torch.tensor(-4.0))

    def _words(self, summary: Tensor, patches: Tensor) -> Tensor:
        """Logits (B, words) of unit class tokens (B, D) and patches (B, P, D)."""
        words, scale = F.normalize(self.words, dim=1), self.scale.exp()
        found = torch.logsumexp(patches @ words.T * scale[0] * 1.5, dim=1) / 1.5 - math.log(patches.shape[1]) / 1.5
        return found + summary @ words.T * scale[1] + self.word_bias

    def forward(self, images: Tensor, captions: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of images (B, 3, 96, 96) in 0..1 and captions (B, words) in {0, 1}, and what to log."""
        spec = NETWORKS["tiny-clip"]
        images = colour_jitter(views(images, 96, (0.9, 1.1), False, self.generator), 0.25, self.generator)
        patches = embed_patches(self.network, normalise(images, spec["mean"], spec["std"]))
        if progress < 0.9:
            order = torch.rand(patches.shape[:2], generator=self.generator).argsort(dim=1)[:, : self.kept]
            patches = patches.gather(1, order[..., None].expand(-1, -1, patches.shape[2]))
        summary, tokens = run_blocks(self.network, assemble(self.network, patches))
        summary, tokens = F.normalize(self.from_class(summary), dim=1), F.normalize(self.from_patches(tokens), dim=2)
        captions = captions.float()
        word_loss = F.binary_cross_entropy_with_logits(self._words(summary, tokens), captions, reduction="none")
        word_loss = (word_loss.mean(0) * self.weight).sum()
        told = F.normalize(self.caption(captions @ self.words), dim=1)
        image = F.normalize(summary + tokens.mean(1), dim=1)
        pair = image @ told.T * self.scale[2].exp() + self.pair_bias  # (B, B)
        pair_loss = -F.logsigmoid((2 * torch.eye(len(image)) - 1) * pair).sum(1).mean()
        hit = (pair.argmax(1) == torch.arange(len(pair))).float().mean()
        return 6 * word_loss + 0.1 * pair_loss, {"word": word_loss.item(), "pair": pair_loss.item(), "hit": hit.item()}

    @property
    def shipped(self) -> VisionTransformer:
        """The network whose weights are kept."""
        return self.network

    def after_step(self, progress: float) -> None:
        """Nothing to do: no teacher."""
