"""tiny-dino: a student predicts what its own slow average says of other views and of masked patches.

The class-token loss is DINO's, the loss of patches iBOT's, the assignments are evened out by Sinkhorn-Knopp and
the class tokens spread by KoLeo, as in DINOv2. Two views are two encounters of the same objects in different places, as
in a film: what stays the same is the objects. What the average says of a patch it says of the patches that look alike,
in the same view (close to SelfPatch, Yun et al. 2022) and in the other encounter (close to DenseCL, Wang et al. 2021).
What attention adds to a patch is to say the same by itself: without that it says one thing in the whole image.
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
NOTED = ("masked", "crop", "crop-same", "across", "hidden", "seen", "pooled", "added", "added-class", "koleo")
"""The terms of the loss, as the log calls them: class tokens of the masked view and of the crop, against the other
encounter and the same one; patches against the other encounter, and their own view; patches pooled by their likeness to
the class token; what attention adds to patches, against what is said of patches and, pooled, of class tokens."""
CLASSES, PARTS = 96, 128
QUEUE = 2048
FOLLOWED = 2
"""In how many of the last blocks what attention adds has losses of its own."""
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


class Prototypes(nn.Module):
    """K directions: cosines (…, K)."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(F.normalize(torch.randn(count, width), dim=1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Cosines of tokens (…, D) to the prototypes."""
        return F.normalize(tokens, dim=-1) @ F.normalize(self.directions, dim=1).T


class Head(nn.Sequential):
    """A small projection and K prototypes: cosines (…, K)."""

    def __init__(self, width: int, count: int) -> None:
        projection = nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Linear(256, 64))
        super().__init__(projection, Prototypes(64, count))


def class_likeness(summary: Tensor, tokens: Tensor) -> Tensor:
    """How much of an image's class token (B, D) is in each patch (B, P, D): shares (B, P, 1), by cosine; the class token
    takes no gradient from it."""
    unit = F.normalize(summary.detach(), dim=-1)[..., None]
    return (F.normalize(tokens, dim=-1) @ unit / ALIKE_HEAT).softmax(1)


def _koleo(summary: Tensor) -> Tensor:
    """Mean negative log distance to the nearest other row (n, D)."""
    unit = F.normalize(summary, dim=1)
    near = (unit @ unit.T - 3 * torch.eye(len(unit))).argmax(1)
    return -((unit - unit[near]).norm(dim=1) + 1e-4).log().mean()


def _cross(aim: Tensor, cosines: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    """Mean cross entropy of assignments (n, K) and a student's cosines (n, K), at temperature 0.1; rows weigh `weights`."""
    return -(weights * (aim * F.log_softmax(cosines / 0.1, dim=-1)).sum(-1)).mean()


def _mean(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).mean()


class DistilObjective(nn.Module):
    """Student, teacher and the losses.

    The teacher sees a whole view of each encounter; the student that of the first, in other colours and masked, and a
    small crop of the second. The student's class token predicts the teacher's, and so does the mean of the patches that
    are like it; its patches, masked or not, predict the teacher's patches that look alike, of the same view and of the
    other encounter, the latter as far as they are found again from there. What attention adds to patches in the last
    blocks predicts both too, as cosines with prototypes of its own: it is by cosines that a cut compares it. A queue of
    earlier class tokens joins in evening out theirs: a batch is smaller than the number of prototypes.
    """

    def __init__(self, network: VisionTransformer, generator: torch.Generator) -> None:
        super().__init__()
        self.network, self.generator = network, generator
        width = network.embed_dim
        self.heads = nn.ModuleList(Head(width, prototypes) for prototypes in (CLASSES, PARTS))
        self.blank = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.teacher = copy.deepcopy(nn.ModuleList([self.network, self.heads])).requires_grad_(False)
        self.queue = torch.zeros(0, 64)
        self.added_parts = nn.ModuleList(Prototypes(width, PARTS) for _ in range(FOLLOWED))
        self.added_classes = nn.ModuleList(Prototypes(width, CLASSES) for _ in range(FOLLOWED))
        self.added: list[Tensor] = []
        for block in network.blocks[-FOLLOWED:]:
            block.attn.register_forward_hook(lambda module, given, result: self.added.append(result))

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
        projection, prototypes = self.teacher[1][0]
        rows = torch.cat([F.normalize(projection(summary), dim=-1), self.queue])
        self.queue = rows[:QUEUE].clone()
        return even_out(prototypes(rows), CLASS_HEAT)[: len(summary)]

    @torch.no_grad()
    def _aims(self, views: Tensor, corner: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the teacher says of the views of both encounters, (2 B, 3, 56, 56), those of the first before the others.

        Class tokens, (B, K) each; of the first's patches, in their own view and the other, (B P, K) each; and how surely
        a patch is found again, (B P,).
        """
        teacher, (_, parts) = self.teacher
        summary, tokens = run_blocks(teacher, assemble(teacher, embed_patches(teacher, views, corner)))
        first, second = self._assign(summary).chunk(2)
        both = tokens.chunk(2)
        scores = [likeness(both[0], some, ALIKE_HEAT) for some in both]
        alike = [share.softmax(-1) @ some for share, some in zip(scores, both, strict=True)]
        near, far = even_out(parts(torch.cat(alike)).flatten(0, 1), PATCH_HEAT).chunk(2)
        return first, second, near, far, found_again(scores[1]).flatten()

    def _run(self, tokens: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The student's class token, its patches, and what attention adds to these in each of the last blocks."""
        self.added.clear()
        summary, patches = run_blocks(self.network, assemble(self.network, tokens))
        return summary, patches, [one[:, self.network.num_prefix_tokens :] for one in self.added]

    def forward(self, images: Tensor, captions: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of pairs of images (B, 2, 3, 96, 96) in 0..1 and what to log; the captions are not looked at."""
        here, there = images.unbind(1)
        crop = views(here, GLOBAL, (0.6, 0.95), True, self.generator)
        both = torch.cat([self._colour(crop), self._view(there, GLOBAL, (0.6, 0.95))])
        corner, hidden = self._corner(GLOBAL), self._hide(len(here))
        first, second, near, far, sure = self._aims(both, corner)
        summary, tokens, added = self._run(self._masked(self._colour(crop), corner, hidden))
        small = embed_patches(self.network, self._view(there, LOCAL, (0.45, 0.8)), self._corner(LOCAL))
        local, local_tokens, local_added = self._run(small)
        classes, patches = self.heads
        whole = [_cross(second, classes(summary)), _cross(first, classes(local)), _cross(second, classes(local))]
        says, away, weights = patches(tokens).flatten(0, 1), hidden.flatten(), sure / sure.mean()
        part = [_cross(far, says, weights), _cross(near[away], says[away]), _cross(near[~away], says[~away])]
        heard = [head(one).flatten(0, 1) for head, one in zip(self.added_parts, added, strict=True)]
        own = _mean([_cross(far, one, weights) + 0.25 * _cross(near, one) for one in heard])
        pooled, messages = self._pooled(second, summary, tokens, added)
        local_pooled, local_messages = self._pooled(first, local, local_tokens, local_added)
        means = [_mean([pooled, local_pooled]), own, _mean([messages, local_messages])]
        spread = _koleo(summary)
        notes = {name: term.item() for name, term in zip(NOTED, (*whole, *part, *means, spread), strict=True)}
        return _mean(whole) + sum(part) + sum(means) + 0.1 * spread, notes

    def _pooled(self, aim: Tensor, summary: Tensor, tokens: Tensor, added: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The losses of patches, and of what attention adds to them, pooled by their likeness to the class token."""
        shares = class_likeness(summary, tokens)
        means = [(shares.detach() * F.normalize(one, dim=-1)).sum(1) for one in added]
        heard = [_cross(aim, head(mean)) for head, mean in zip(self.added_classes, means, strict=True)]
        return _cross(aim, self.heads[0]((shares * tokens).sum(1))), _mean(heard)

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
