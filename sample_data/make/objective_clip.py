"""tiny-clip: an image and the words of its caption agree (sigmoid loss, as in SigLIP)."""

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import colour_jitter, normalise, views
from .networks import NETWORKS, assemble, embed_patches, run_blocks
from .scenes import VOCABULARY

__all__ = ["CaptionObjective"]


class CaptionObjective(nn.Module):
    """Sigmoid losses of images against single caption words and against whole captions (bags of words) of the batch."""

    def __init__(self, network: VisionTransformer, generator: torch.Generator, kept: int = 56) -> None:
        super().__init__()
        self.network, self.generator, self.kept = network, generator, kept
        width = network.embed_dim
        self.words = nn.Parameter(torch.randn(len(VOCABULARY), width) * width**-0.5)
        self.from_class, self.from_patches = nn.Linear(width, width), nn.Linear(width, width)
        self.caption = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.scale = nn.Parameter(torch.tensor([2.3, 2.3]))
        self.bias = nn.Parameter(torch.tensor([-2.0, -4.0]))

    def forward(self, images: Tensor, captions: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of images (B, 3, 96, 96) in 0..1 and captions (B, words) in {0, 1}, and what to log."""
        spec = NETWORKS["tiny-clip"]
        images = colour_jitter(views(images, 96, (0.9, 1.1), False, self.generator), 0.25, self.generator)
        patches = embed_patches(self.network, normalise(images, spec["mean"], spec["std"]))
        if progress < 0.85:
            order = torch.rand(patches.shape[:2], generator=self.generator).argsort(dim=1)[:, : self.kept]
            patches = patches.gather(1, order[..., None].expand(-1, -1, patches.shape[2]))
        summary, tokens = run_blocks(self.network, assemble(self.network, patches))
        image = F.normalize(self.from_class(summary) + self.from_patches(tokens.mean(1)), dim=1)  # (B, D)
        word = image @ F.normalize(self.words, dim=1).T * self.scale[0].exp() + self.bias[0]  # (B, words)
        captions = captions.float()
        told = F.normalize(self.caption(captions @ self.words), dim=1)
        pair = image @ told.T * self.scale[1].exp() + self.bias[1]  # (B, B)
        same = 2 * torch.eye(len(image)) - 1
        word_loss = F.binary_cross_entropy_with_logits(word, captions)
        pair_loss = -F.logsigmoid(same * pair).sum(1).mean()
        hit = (pair.argmax(1) == torch.arange(len(pair))).float().mean()
        return 4 * word_loss + 0.3 * pair_loss, {"word": word_loss.item(), "pair": pair_loss.item(), "hit": hit.item()}

    def after_step(self, progress: float) -> None:
        """Nothing to do: no teacher."""
