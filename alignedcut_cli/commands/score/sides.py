"""The two sides of every comparison: the brain's, cached across layers, and that of one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.commands.score.plan import Layer, Plan
from alignedcut_cli.core.encode.rdm import Gram, rdm
from alignedcut_cli.core.encode.ridge import (
    Basis,
    Standard,
    encode,
    kernels_of_products,
    ridge_basis,
    ridge_basis_of_kernel,
)
from alignedcut_cli.core.encode.similarity import DrawnGram, drawn_gram
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.draws import bootstrap_weights, random_orders
from alignedcut_cli.errors import DataError
from alignedcut_cli.frame.cases import Case
from alignedcut_cli.store.canonical import digest

__all__ = ["BrainSide", "LayerSide", "Predictions", "Resampling", "predict"]

_SLICE = 4096
_CHUNK = 1 << 28
"""Bytes of RDMs that are compared at once: a fixed number, so that no bit depends on the memory of a machine."""


@dataclass(frozen=True)
class Resampling:
    """Bootstrap weights of m images, (T, m) float32, and permutations, (P, m). Same images, same draws."""

    weights: Tensor
    orders: Tensor


@dataclass(frozen=True)
class Predictions:
    """Predicted responses of all N voxels: leave-one-out (n, N), held-out (m, N), float32 on the CPU; and Pearson's r of
    the first (N,)."""

    loo: Tensor
    heldout: Tensor
    loo_r: Tensor


class BrainSide:
    """Gram matrices of regions' responses, cached across layers within three eighths of `budget` bytes; and draws."""

    def __init__(self, plan: Plan, device: torch.device, budget: int) -> None:
        self._plan, self.device, self._budget = plan, device, budget
        self._grams: dict[tuple[int, int], Gram] = {}
        self._resampling: dict[tuple[str, int | None], Resampling] = {}
        self._drawn: dict[tuple[int, int, bytes], DrawnGram] = {}

    def resampling(self, case: Case, fold: int | None) -> Resampling:
        """The resampling of the test images of a fold, or (None) of all images of a case."""
        key = (case.key, fold)
        if key not in self._resampling:
            params = self._plan.recipe.params
            places = range(len(case.images)) if fold is None else case.folds[fold].test
            seed = stream(params["seed"], digest([case.images[place] for place in places]))
            self._resampling[key] = Resampling(
                torch.from_numpy(bootstrap_weights(len(places), params["bootstrap"], seed)).float(),
                torch.from_numpy(random_orders(len(places), params["permutations"], seed)),
            )
        return self._resampling[key]

    def gram(self, case: int, region: int) -> Gram:
        """The Gram matrix of a region's responses over all images of a case."""
        key = (case, region)
        if key in self._grams:
            return self._grams[key]
        own = self._plan.cases[case]
        assert own.responses is not None and own.masks is not None
        columns = torch.from_numpy(own.responses[:, own.masks[region]]).to(self.device)
        found = Gram.of(columns.split(_SLICE, 1))
        if 8 * (len(self._grams) + 1) * len(found.products) ** 2 <= self._budget // 4:
            self._grams[key] = found
        return found

    def drawn_gram(self, case: int, region: int, places: np.ndarray, like: DrawnGram) -> DrawnGram:
        """A region's Gram matrix over some images of a case, under the weightings of `like`: those of these images."""
        key = (case, region, places.tobytes())
        if key in self._drawn:
            return self._drawn[key]
        images = torch.from_numpy(places).to(self.device)
        found = drawn_gram(self.gram(case, region).take(images).products, like.weights, like)
        held = found.numbers + sum(one.numbers for one in self._drawn.values())
        if held * found.gram.element_size() <= self._budget // 8:
            self._drawn[key] = found
        return found

    def rdms(self, case: int, regions: Sequence[int], images: Tensor) -> Tensor:
        """The RDMs of some regions over some images: (R, m, m) float64."""
        own = self._plan.cases[case]
        if own.rdms is not None:
            return torch.from_numpy(own.rdms[list(regions)])[:, images][:, :, images].to(self.device)
        distance = self._plan.recipe.params["rdm"]
        images = images.to(self.device)
        return torch.stack([rdm(self.gram(case, region).take(images), distance) for region in regions])

    def chunks(self, regions: Sequence[int], images: int) -> Iterator[slice]:
        """Slices of a list of regions, of as many as 256 MiB hold the RDMs of, and work on them."""
        step = max(1, _CHUNK // (8 * 6 * images**2))
        for start in range(0, len(regions), step):
            yield slice(start, start + step)


class LayerSide:
    """One layer: its Gram matrix, and fits, which cases of the same images share."""

    def __init__(self, plan: Plan, layer: Layer, device: torch.device) -> None:
        self._plan, self._layer, self._device = plan, layer, device
        self._there = plan.sets[layer.source]
        number = layer.map.number
        products, sums = (
            torch.from_numpy(np.array(read(number), "f8")) for read in (self._there.gram, self._there.sums)
        )
        self.gram = Gram(products.to(device), sums.to(device), layer.map.units)
        if not bool(self.gram.products.isfinite().all()):
            raise DataError(
                "not-finite",
                f"features/{self._there.features.folder.name}, {layer.map.name}: some numbers are infinite or NaN",
                "Leave it out with --layers",
            )
        self._bases: dict[tuple[str, int], Basis] = {}

    @cached_property
    def matrix(self) -> Tensor:
        """X (n, d) float32 over all images of the feature set: the projection, or the map itself."""
        read = self._there.raw if self._plan.recipe.params["units"] == "raw" else self._there.matrix
        return torch.from_numpy(np.array(read(self._layer.map.number), "f4"))

    def own_gram(self, case: Case, places: np.ndarray) -> Gram:
        """The Gram matrix over some images of a case."""
        return self.gram.take(torch.from_numpy(case.places[self._layer.source][places]).to(self._device))

    def standardised(self, case: Case, fold: int) -> tuple[Tensor, Tensor]:
        """X of training and test images, standardised by the former: (n, d) and (m, d)."""
        rows = case.places[self._layer.source]
        part = case.folds[fold]
        known, new = (self.matrix[torch.from_numpy(rows[one])].to(self._device) for one in (part.train, part.test))
        standard = Standard.of(known, self._plan.recipe.params["ddof"])
        return standard(known), standard(new)

    @property
    def width(self) -> int:
        """The number of standardised dimensions in regressions: d where the map is larger."""
        return self._layer.map.projected if self._by_products else self.matrix.shape[1]

    @property
    def _by_products(self) -> bool:
        """Whether regressions use the Gram matrix of the whole map, which is larger than its projection."""
        return self._plan.recipe.params["units"] == "products" and self._layer.map.projected > 0

    def kernels(self, case: Case, fold: int) -> tuple[Tensor, Tensor]:
        """Centred kernels among training images (n, n) float64, and of test with training images (m, n) float32."""
        if not self._by_products:
            known, new = self.standardised(case, fold)
            return known.double() @ known.double().T, new @ known.T
        rows, part = case.places[self._layer.source], case.folds[fold]
        known, new = (torch.from_numpy(rows[one]).to(self._device) for one in (part.train, part.test))
        kernel, heldout = kernels_of_products(self.gram.products, known, new, self.width)
        return kernel, heldout.float()

    def basis(self, case: Case, fold: int) -> Basis:
        key = (case.key, fold)
        if key not in self._bases:
            self._bases[key] = (
                ridge_basis_of_kernel(*self.kernels(case, fold))
                if self._by_products
                else ridge_basis(*self.standardised(case, fold))
            )
        return self._bases[key]


def predict(plan: Plan, basis: Basis, case: Case, fold: int) -> Predictions:
    """All responses of a case, predicted from a fit to the train images of a fold."""
    assert case.responses is not None
    params, part = plan.recipe.params, case.folds[fold]
    known = torch.from_numpy(case.responses[part.train])
    device, voxels = basis.left.device, known.shape[1]
    loo, heldout = torch.empty(len(part.train), voxels), torch.empty(len(part.test), voxels)
    loo_r = torch.empty(voxels, dtype=torch.float64)
    for one in encode(basis, known.to(device), params["alphas"], params["penalty"]):
        loo[:, one.columns], heldout[:, one.columns], loo_r[one.columns] = (
            one.loo.cpu(),
            one.heldout.cpu(),
            one.loo_r.cpu(),
        )
    return Predictions(loo, heldout, loo_r)
