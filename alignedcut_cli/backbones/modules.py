"""The outputs of all modules in a forward pass: a list of them, duplicates, and their rows, one per image."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from alignedcut_cli.backbones.network import Network
from alignedcut_cli.core.numerics import is_out_of_memory
from alignedcut_cli.errors import UnavailableError, first_line

__all__ = ["Output", "Survey", "matching", "read_outputs", "survey_outputs"]

_FEWEST = 3
"""The fewest images of a survey: the axis of images is the one that grows with them."""
_ELEMENTWISE = 4
"""The assumed multiply-adds per unit of a module without a matrix."""
Visit = Callable[[str, nn.Module, Tensor], None]


@dataclass(frozen=True)
class Output:
    """One output of a module: the `place`-th of a forward pass.

    `shape` is that of one image's map, `units` their product; the tensor's images are along `axis`, each with `group`
    entries (such as windows). `cost` counts the multiply-adds of the forward pass up to here, per image. `same_as` names
    the first output with exactly the same values, if it is another.
    """

    name: str
    kind: str
    place: int
    shape: tuple[int, ...]
    axis: int
    group: int
    cost: int
    same_as: str | None = None

    @property
    def units(self) -> int:
        return int(torch.Size(self.shape).numel())

    def rows(self, tensor: Tensor) -> Tensor:
        """The map as (B, D) float32, one row per image."""
        images = tensor.movedim(self.axis, 0)
        return images.reshape(len(images) // self.group, self.units).float()


@dataclass(frozen=True)
class Survey:
    """All outputs of a forward pass that have a row per image, in order of computation; `left_out` says why others have
    none."""

    outputs: tuple[Output, ...]
    left_out: tuple[tuple[str, str], ...]


class _Done(Exception):
    """Every wanted output has been read: the rest of the forward pass is not needed."""


@contextmanager
def _listening(module: nn.Module, visit: Visit) -> Iterator[None]:
    """Call `visit(name, module, tensor)` for each tensor that a submodule of `module` returns, before it can be changed.

    The second call of a module in a forward pass is NAME@2; several outputs of a module are NAME-0, NAME-1 or NAME-KEY.
    """
    calls: Counter[str] = Counter()

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def read(part: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] += 1
            called = name if calls[name] == 1 else f"{name}@{calls[name]}"
            found = [(suffix, one) for suffix, one in _parts(output) if isinstance(one, Tensor)]
            for suffix, tensor in found:
                visit(called if len(found) == 1 else f"{called}-{suffix}", part, tensor)

        return read

    handles = [part.register_forward_hook(hook(name)) for name, part in module.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _parts(output: Any) -> Sequence[tuple[Any, Any]]:
    if isinstance(output, dict):
        return list(output.items())
    return list(enumerate(output)) if isinstance(output, tuple | list) else [("", output)]


@torch.no_grad()
def survey_outputs(network: Network, images: Tensor) -> Survey:
    """The outputs of a network's modules for images (p, 3, size, size), p >= 3, all of them different.

    Raises UnavailableError if the network fails on images of this size.
    """
    fewer, more = images[:-1], images
    shapes: dict[str, tuple[int, ...]] = {}
    first_rows: dict[str, Tensor] = {}

    def note_shape(name: str, _module: nn.Module, tensor: Tensor) -> None:
        shapes[name] = tuple(tensor.shape)
        if tensor.ndim and len(tensor) % len(fewer) == 0 and len(tensor) > len(fewer):
            first_rows[name] = tensor.clone()

    found: list[Output] = []
    left_out: list[tuple[str, str]] = []
    seen: dict[bytes, str] = {}
    cost = 0

    def note_output(name: str, module: nn.Module, tensor: Tensor) -> None:
        nonlocal cost
        cost += _products(module, tensor) // len(more)
        layout = _layout(shapes.get(name), tuple(tensor.shape), len(fewer))
        if layout is None or not tensor.is_floating_point():
            reason = "no floating-point numbers" if layout else "no axis of images"
            left_out.append((name, reason))
            return
        axis, group = layout
        moved = tensor.movedim(axis, 0).shape
        shape = tuple(moved[1:]) if group == 1 else (group, *moved[1:])
        output = Output(name, type(module).__name__, len(found), shape, axis, group, cost)
        rows = output.rows(tensor)
        if group > 1 and not torch.allclose(rows[:-1], output.rows(first_rows[name]), rtol=1e-3, atol=1e-4):
            left_out.append((name, "images that are not side by side"))
            return
        mark = hashlib.blake2b(rows.cpu().contiguous().view(torch.uint8).numpy().data, digest_size=32).digest()
        same = seen.setdefault(mark + bytes(str(output.units), "ascii"), name)
        found.append(Output(**{**vars(output), "same_as": same if same != name else None}))

    try:
        for part, visit in ((fewer, note_shape), (more, note_output)):
            with _listening(network.module, visit):
                network.forward(part)
        differing = _differing(network, fewer, found)
    except (AssertionError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        told = f"{network.id.label} fails on images of {images.shape[-1]} px ({first_line(error)})"
        raise UnavailableError("model-fails", told, "Give another --image-size or --model") from None
    kept = tuple(Output(**{**vars(one), "same_as": None}) if one.name in differing else one for one in found)
    return Survey(kept, tuple(left_out))


def _differing(network: Network, images: Tensor, outputs: Sequence[Output]) -> set[str]:
    """The outputs that differ from the earlier one that they seemed to equal."""
    return set(read_outputs(network, images, outputs, lambda *_: None) if outputs else ())


def _layout(before: tuple[int, ...] | None, after: tuple[int, ...], fewer: int) -> tuple[int, int] | None:
    """(axis of images, entries of each image along it) of a tensor whose shape is `before` with one image fewer."""
    if before is None or len(before) != len(after):
        return None
    changed = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    if len(changed) != 1:
        return None
    axis = changed[0]
    group = after[axis] - before[axis]
    if before[axis] != group * fewer or (group > 1 and axis):
        return None
    return axis, group


def _products(module: nn.Module, tensor: Tensor) -> int:
    """An estimate of a module's own multiply-adds."""
    if any(True for _ in module.children()):
        return 0
    weight = getattr(module, "weight", None)
    is_matrix = isinstance(weight, Tensor) and weight.ndim > 1 and not isinstance(module, nn.Embedding)
    return tensor.numel() * (weight.numel() // len(weight) if is_matrix and weight is not None else _ELEMENTWISE)


@torch.no_grad()
def read_outputs(
    network: Network,
    images: Tensor,
    wanted: Sequence[Output],
    take: Callable[[Output, Tensor], None],
    *,
    compare: bool = True,
) -> list[str]:
    """Call `take(output, rows)` with the rows (B, D) of each wanted output, in order, as soon as they are computed.

    An output that equals an earlier wanted one is not taken but, with `compare`, compared with it; the names of those that
    differ are returned. The forward pass stops after the last wanted output.
    """
    by_name = {one.name: one for one in wanted}
    twins = {one.same_as for one in wanted if one.same_as} if compare else set()
    last = max(wanted, key=lambda one: one.place).name
    kept: dict[str, tuple[Tensor, int]] = {}
    left = Counter(one.same_as for one in wanted)
    differing: list[str] = []

    def visit(name: str, _module: nn.Module, tensor: Tensor) -> None:
        output = by_name.get(name)
        if output is None:
            return
        if output.same_as is None:
            take(output, output.rows(tensor))
        elif compare:
            original, version = kept[output.same_as]
            if original._version != version or not torch.equal(
                by_name[output.same_as].rows(original), output.rows(tensor)
            ):
                differing.append(name)
            left[output.same_as] -= 1
            if not left[output.same_as]:
                del kept[output.same_as]
        if name in twins:
            kept[name] = tensor, tensor._version
        if name == last:
            raise _Done

    with _listening(network.module, visit), suppress(_Done):
        network.forward(images)
    return differing


def matching(names: Sequence[str], globs: Sequence[str]) -> list[str]:
    """The names that match one of the patterns; NAME@2 and NAME-1 also match as NAME."""
    return [
        name
        for name in names
        if not globs or any(fnmatchcase(name, glob) or fnmatchcase(name.partition("@")[0], glob) for glob in globs)
    ]
