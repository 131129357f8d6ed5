"""A simulated CUDA device: tensors on `cuda` that are computed on the CPU, and refuse what CUDA would refuse.

PyTorch's own FakeTensorMode has no values, so it fails at the first one that is read back: at `unit_rows`, before
any kernel. Here FakeTensorMode only allows `device="cuda"` without a driver; each tensor keeps its values, so that
`.item()`, `if`, `nonzero` and `.cpu().numpy()` work. Refused are: tensors on two devices in one operation (except a CPU
tensor without dimensions, or CPU indices into a CUDA tensor, as on CUDA), `numpy()` of a CUDA tensor, and a generator on
another device than the numbers drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["CUDA", "DeviceMixError", "on_cuda", "pretended_cuda"]

CUDA = torch.device("cuda:0")
_INNER = torch.device("lazy:0")
"""The device reported to C++: autograd looks up the streams of a `cuda` device, but nothing of a `lazy` one."""
_aten = torch.ops.aten
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}


class DeviceMixError(RuntimeError):
    """An operation got tensors, or a generator, on devices that CUDA would not combine."""


class _OnCuda(Tensor):
    """A tensor that reports CUDA as its device; `held` are its values, on the CPU."""

    held: Tensor
    device = property(lambda self: CUDA)  # pyright: ignore[reportAssignmentType]
    is_cuda = property(lambda self: True)  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def __new__(cls, real: Tensor) -> _OnCuda:
        with torch.inference_mode(False):  # a view of a parameter cannot be made otherwise
            made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
                cls,
                real.size(),
                strides=real.stride(),
                storage_offset=real.storage_offset(),
                dtype=real.dtype,
                device="cpu",
                dispatch_device=True,
            )
        made.held = real
        return made

    def __init__(self, real: Tensor) -> None:
        pass

    def __repr__(self, **_: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"pretended on {CUDA}: {self.held!r}"

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {CUDA} device type tensor to numpy. Use Tensor.cpu() first")

    def tolist(self) -> list[Any]:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sends every operation through `_computed`, including factory functions.

    Under `inference_mode` composite operations such as `to` arrive: they are decomposed.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func.namespace == "aten" and func._can_decompose():
            with self:
                return func.decompose(*args, **(kwargs or {}))
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of `func`, on the device where CUDA would put it."""
    if func is torch.ops.prim.device.default:
        return _INNER
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    given = {id(one.held if isinstance(one, _OnCuda) else one): one for one in tensors}
    is_here = any(isinstance(one, _OnCuda) for one in tensors)
    asked = kwargs.get("device")
    lands = is_here if asked is None else torch.device(asked).type in (CUDA.type, _INNER.type)
    if func not in _COPIES:
        _require_one_device(func, args, tensors)
    generator = kwargs.get("generator")
    if lands and generator is not None:
        raise DeviceMixError(f"{func}: a generator on the CPU, and numbers on {CUDA}")
    with unset_fake_temporarily():
        told = {**kwargs, "device": torch.device("cpu")} if asked is not None else kwargs
        inner, named = tree_map(lambda one: one.held if isinstance(one, _OnCuda) else one, (tuple(args), dict(told)))
        made = func(*inner, **named)
    return tree_map(lambda one: _told(one, given, lands), made)


def _told(made: Any, given: Mapping[int, Tensor], lands: bool) -> Any:
    """A result as the caller sees it: the tensor passed in, if the operation was in place."""
    if not isinstance(made, Tensor):
        return made
    if id(made) in given:
        return given[id(made)]
    return _OnCuda(made) if lands else made


def _require_one_device(func: Any, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    there = [one for one in tensors if not isinstance(one, _OnCuda)]
    here = len(tensors) - len(there)
    if func in _INDEXED and isinstance(args[0], _OnCuda):  # indices may be on the CPU, values may not
        there = [one for one in args[2:3] if isinstance(one, Tensor) and not isinstance(one, _OnCuda)]
    wrong = [one for one in there if one.dim()]
    if here and wrong:
        shapes = ", ".join(str(tuple(one.shape)) for one in wrong)
        raise DeviceMixError(f"{func}: tensors on {CUDA}, and on the CPU ones of shape {shapes}")


@contextmanager
def pretended_cuda() -> Iterator[torch.device]:
    """The device `cuda:0` within a block, on any machine. A module that is moved there gets new parameters."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with mock.patch.object(torch.cuda, "device_count", return_value=1), FakeTensorMode(), _Mode():
            yield CUDA
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def on_cuda(value: Any) -> Any:
    """Tensors, in any nesting, moved to CUDA."""
    return tree_map(lambda one: one.to(CUDA) if isinstance(one, Tensor) else one, value)
