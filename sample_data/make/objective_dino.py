"""tiny-dino: a student predicts what its own slow average says of other views and of masked patches.

The class-token loss is DINO's, the loss of patches iBOT's, the assignments are evened out by Sinkhorn-Knopp and
the class tokens spread by KoLeo, as in DINOv2. Two views are two encounters of the same objects in different places, as
in a film: what stays the same is the objects. What the average says of a patch it says of the patches that look alike,
in the same view (close to SelfPatch, Yun et al. 2022) and in the other encounter (close to DenseCL, Wang et al. 2021).
No label is used.
"""

import copy
import math

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import colour_jitter, normalise, views
from .networks import NETWORKS, assemble, embed_patches, run_blocks

__all__ = ["DistilObjective", "even_out", "found_again", "likeness"]

GLOBAL, LOCAL = 56, 32
CLASS_HEAT, PATCH_HEAT, ALIKE_HEAT = 0.02, 0.03, 0.1
HIDDEN = (0.1, 0.5)
NOTED = ("masked", "crop", "crop-same", "across", "hidden", "seen", "koleo")
"""The terms of the loss, as the log calls them: class tokens of the masked view and of the crop, against the other
encounter and the same one; patches against the other encounter, and their own view."""
CLASSES, PARTS = 96, 128
QUEUE = 2048
_GRID = GLOBAL // 8


def even_out(scores: Tensor, temperature: float, rounds: int = 3) -> Tensor:
    """Assignments (n, K) with row sums 1 and equal column sums: Sinkhorn-Knopp on exp(scores / temperature)."""
    shares = ((scores - scores.max()) / temperature).exp().clamp_min(1e-30)
    for _ in range(rounds):
        shares = shares / shares.sum(0, keepdim=True)
        shares = shares / shares.sum(1, keepdim=True)
    return shares


def likeness(tokens: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Cosines of tokens (B, P, D) with others (B, Q, D) of the same image pair, over a temperature: (B, P, Q).

    An image's mean token is taken off before: what all patches share says nothing of which belong together.
    """
    left, right = (F.normalize(some - some.mean(1, keepdim=True), dim=-1) for some in (tokens, others))
    return left @ right.mT / temperature


def found_again(scores: Tensor) -> Tensor:
    """How surely a patch that looks for its like in the other image (B, P, Q) would find itself from there, (B, P).

    sum_q p(q | p) p(p | q): near 1 for what is in both images and alone of its kind, small for what is not there.
    """
    return (scores.softmax(-1) * scores.softmax(1)).sum(-1)


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


def _cross(aim: Tensor, cosines: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    """Mean cross entropy of assignments (n, K) and a student's cosines (n, K), at temperature 0.1; rows weigh `weights`."""
    return -(weights * (aim * F.log_softmax(cosines / 0.1, dim=-1)).sum(-1)).mean()


class DistilObjective(nn.Module):
    """Student, teacher and the losses.

    The teacher sees a whole view of each encounter; the student that of the first, in other colours and masked, and a
    small crop of the second. The student's class token predicts the teacher's; its patches, masked or not, the
    teacher's patches that look alike, of the same view and of the other encounter, the latter as far as they are found
    again from there. A queue of earlier class tokens joins in evening out theirs: a batch is smaller than the number of
    prototypes.
    """

    def __init__(self, network: VisionTransformer, generator: torch.Generator) -> None:
        super().__init__()
        self.network, self.generator = network, generator
        self.heads = nn.ModuleList(Head(network.embed_dim, prototypes) for prototypes in (CLASSES, PARTS))
        self.blank = nn.Parameter(torch.randn(1, 1, network.embed_dim) * 0.02)
        self.teacher = copy.deepcopy(nn.ModuleList([self.network, self.heads])).requires_grad_(False)
        self.queue = torch.zeros(0, 64)

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
        """Which patches are masked, bool (count, P): a share of each view within HIDDEN, scattered.

        Scattered, since a connected mask as large as an object leaves nothing to guess it from.
        """
        order = torch.rand(count, _GRID**2, generator=self.generator).argsort(1)
        share = HIDDEN[0] + (HIDDEN[1] - HIDDEN[0]) * torch.rand(count, 1, generator=self.generator)
        return order < share * _GRID**2

    def _assign(self, summary: Tensor) -> Tensor:
        """The teacher's assignments of class tokens (n, D) to its prototypes, evened out with those of the queue."""
        head = self.teacher[1][0]
        rows = torch.cat([F.normalize(head.inner(summary), dim=-1), self.queue])
        self.queue = rows[:QUEUE].clone()
        return even_out(rows @ F.normalize(head.prototypes, dim=1).T, CLASS_HEAT)[: len(summary)]

    def forward(self, images: Tensor, captions: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of pairs of images (B, 2, 3, 96, 96) in 0..1 and what to log; the captions are not looked at."""
        teacher, (_, teacher_patch) = self.teacher
        here, there = images.unbind(1)
        count = len(here)
        crop = views(here, GLOBAL, (0.6, 0.95), True, self.generator)
        both = torch.cat([self._colour(crop), self._view(there, GLOBAL, (0.6, 0.95))])
        corner, hidden = self._corner(GLOBAL), self._hide(count)
        with torch.no_grad():
            summary, tokens = run_blocks(teacher, assemble(teacher, embed_patches(teacher, both, corner)))
            first, second = self._assign(summary).chunk(2)
            scores = [likeness(tokens[:count], some, ALIKE_HEAT) for some in tokens.chunk(2)]
            alike = [share.softmax(-1) @ some for share, some in zip(scores, tokens.chunk(2), strict=True)]
            aim, far = even_out(teacher_patch(torch.cat(alike)).flatten(0, 1), PATCH_HEAT).chunk(2)
            sure = found_again(scores[1]).flatten()
        masked = assemble(self.network, self._masked(self._colour(crop), corner, hidden))
        summary, tokens = run_blocks(self.network, masked)
        small = embed_patches(self.network, self._view(there, LOCAL, (0.45, 0.8)), self._corner(LOCAL))
        local, _ = run_blocks(self.network, assemble(self.network, small))
        classes, patches = self.heads
        whole = [_cross(second, classes(summary)), _cross(first, classes(local)), _cross(second, classes(local))]
        says, away, spread = patches(tokens).flatten(0, 1), hidden.flatten(), _koleo(summary)
        across = _cross(far, says, sure / sure.mean())
        part, seen = _cross(aim[away], says[away]), _cross(aim[~away], says[~away])
        told = (*whole, across, part, seen, spread)
        notes = {name: term.item() for name, term in zip(NOTED, told, strict=True)}
        return sum(whole) / 3 + across + part + seen + 0.1 * spread, notes

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
