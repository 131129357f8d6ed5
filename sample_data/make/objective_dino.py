"""tiny-dino: a student predicts what its own slow average says of other views and of masked patches.

The class-token loss is DINO's, the loss of patches iBOT's, the assignments are evened out by Sinkhorn-Knopp and
the class tokens spread by KoLeo, as in DINOv2. What the average says of a patch it says of the patches that look alike
in that view, so that the parts of an object share a target, close to SelfPatch (Yun et al. 2022). No label is used.
"""

import copy
import math

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import colour_jitter, normalise, views
from .networks import NETWORKS, assemble, embed_patches, run_blocks

__all__ = ["DistilObjective", "even_out", "pool_alike"]

GLOBAL, LOCAL = 56, 32
CLASS_HEAT, PATCH_HEAT, ALIKE_HEAT = 0.02, 0.03, 0.1
CLASSES, PARTS = 96, 128
_GRID = GLOBAL // 8


def even_out(scores: Tensor, temperature: float, rounds: int = 3) -> Tensor:
    """Assignments (n, K) with row sums 1 and equal column sums: Sinkhorn-Knopp on exp(scores / temperature)."""
    shares = ((scores - scores.max()) / temperature).exp().clamp_min(1e-30)
    for _ in range(rounds):
        shares = shares / shares.sum(0, keepdim=True)
        shares = shares / shares.sum(1, keepdim=True)
    return shares


def pool_alike(tokens: Tensor, temperature: float) -> Tensor:
    """Each token's mean over its image (B, P, D), weighted by softmax(cosine / temperature), as float32.

    The image's mean token is taken off before the cosines, not before the mean: what all patches share says nothing of
    which belong together.
    """
    unit = F.normalize(tokens - tokens.mean(1, keepdim=True), dim=-1)
    return (unit @ unit.mT / temperature).softmax(-1) @ tokens


class Head(nn.Module):
    """A small projection and K prototypes of unit length: cosines (…, K)."""

    def __init__(self, width: int, prototypes: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Linear(256, 64))
        self.prototypes = nn.Parameter(F.normalize(torch.randn(prototypes, 64), dim=1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Cosines of tokens (…, D) to the prototypes."""
        return F.normalize(self.inner(tokens), dim=-1) @ F.normalize(self.prototypes, dim=1).T


def _koleo(summary: Tensor) -> Tensor:
    """Mean negative log distance to the nearest other row (n, D)."""
    unit = F.normalize(summary, dim=1)
    near = (unit @ unit.T - 3 * torch.eye(len(unit))).argmax(1)
    return -((unit - unit[near]).norm(dim=1) + 1e-4).log().mean()


def _cross(aim: Tensor, cosines: Tensor) -> Tensor:
    """Mean cross entropy of assignments (n, K) and a student's cosines (n, K), at temperature 0.1."""
    return -(aim * F.log_softmax(cosines / 0.1, dim=-1)).sum(-1).mean()


class DistilObjective(nn.Module):
    """Student, teacher and the three losses.

    The teacher sees two whole views; the student the first one, in other colours and masked, and a small crop. The
    student's class token predicts the teacher's of other views, its patches, masked or not, the teacher's of the same
    place.
    """

    def __init__(self, network: VisionTransformer, generator: torch.Generator) -> None:
        super().__init__()
        self.network, self.generator = network, generator
        self.heads = nn.ModuleList(Head(network.embed_dim, prototypes) for prototypes in (CLASSES, PARTS))
        self.blank = nn.Parameter(torch.randn(1, 1, network.embed_dim) * 0.02)
        self.teacher = copy.deepcopy(nn.ModuleList([self.network, self.heads])).requires_grad_(False)

    def _corner(self, side: int) -> tuple[int, int]:
        room = 12 - side // 8
        row, column = torch.randint(0, room + 1, (2,), generator=self.generator).tolist()
        return row, column

    def _view(self, images: Tensor, side: int, zoom: tuple[float, float]) -> Tensor:
        return self._colour(views(images, side, zoom, True, self.generator))

    def _colour(self, crops: Tensor) -> Tensor:
        spec = NETWORKS["tiny-dino"]
        return normalise(colour_jitter(crops, 0.25, self.generator), spec["mean"], spec["std"])

    def _hide(self, count: int) -> Tensor:
        """Which patches are masked, bool (count, P): 40 to 70 percent of each view, scattered.

        Scattered, since a connected mask as large as an object leaves nothing to guess it from.
        """
        order = torch.rand(count, _GRID**2, generator=self.generator).argsort(1)
        share = 0.4 + 0.3 * torch.rand(count, 1, generator=self.generator)
        return order < share * _GRID**2

    def forward(self, images: Tensor, captions: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of images (B, 3, 96, 96) in 0..1 and what to log; the captions are not looked at."""
        teacher, (teacher_class, teacher_patch) = self.teacher
        crop = views(images, GLOBAL, (0.6, 0.95), True, self.generator)
        both = torch.cat([self._colour(crop), self._view(images, GLOBAL, (0.6, 0.95))])
        corner, hidden = self._corner(GLOBAL), self._hide(len(images))
        with torch.no_grad():
            summary, tokens = run_blocks(teacher, assemble(teacher, embed_patches(teacher, both, corner)))
            first, second = even_out(teacher_class(summary), CLASS_HEAT).chunk(2)
            alike = pool_alike(tokens[: len(images)], ALIKE_HEAT)
            aim = even_out(teacher_patch(alike).flatten(0, 1), PATCH_HEAT)
        masked = assemble(self.network, self._masked(self._colour(crop), corner, hidden))
        summary, tokens = run_blocks(self.network, masked)
        small = embed_patches(self.network, self._view(images, LOCAL, (0.3, 0.55)), self._corner(LOCAL))
        local, _ = run_blocks(self.network, assemble(self.network, small))
        whole = _cross(second, self.heads[0](summary))
        whole = (whole + _cross(first, self.heads[0](local)) + _cross(second, self.heads[0](local))) / 3
        says, away, spread = self.heads[1](tokens).flatten(0, 1), hidden.flatten(), _koleo(summary)
        part, seen = _cross(aim[away], says[away]), _cross(aim[~away], says[~away])
        notes = {"whole": whole.item(), "hidden": part.item(), "seen": seen.item(), "koleo": spread.item()}
        return whole + part + seen + 0.1 * spread, notes

    def _masked(self, images: Tensor, corner: tuple[int, int], hidden: Tensor) -> Tensor:
        """Patch embeddings in which the hidden patches' content, but not their position, is the blank token."""
        patches = embed_patches(self.network, images, corner)
        nothing = embed_patches(self.network, torch.zeros_like(images[:1]), corner) - self.network.patch_embed.proj.bias
        return torch.where(hidden[..., None], self.blank + nothing, patches)

    @property
    def shipped(self) -> VisionTransformer:
        """The network whose weights are kept: the teacher."""
        return self.teacher[0]

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student, by less and less."""
        share = 0.012 * 0.5 * (1 + math.cos(math.pi * progress)) + 0.0005
        student = nn.ModuleList([self.network, self.heads])
        for slow, fast in zip(self.teacher.parameters(), student.parameters(), strict=True):
            slow.lerp_(fast, share)
