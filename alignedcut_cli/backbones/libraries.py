"""Import the model libraries without PyTorch's compiler, which would take longer to import than they do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from alignedcut_cli.errors import UnavailableError, first_line

__all__ = ["import_libraries", "without_compiler"]

_COMPILER = "torch._dynamo"
_UTILITIES = "torch._dynamo.utils"


def import_libraries() -> None:
    """Import timm, or raise UnavailableError (exit 69) where torch and torchvision do not match."""
    try:
        with without_compiler():
            import timm  # noqa: F401  # imports torchvision
    except (ImportError, RuntimeError, OSError) as error:
        import importlib.metadata as metadata

        versions = []
        for package in ("torch", "torchvision", "timm"):
            try:
                versions.append(f"{package} {metadata.version(package)}")
            except metadata.PackageNotFoundError:
                versions.append(f"no {package}")
        first = first_line(error)
        raise UnavailableError(
            "torch-pair",
            f"{', '.join(versions)} do not work together ({first})",
            "Install torch and torchvision as a pair, both CPU builds or both CUDA builds from the same index: "
            "pip install --force-reinstall torch torchvision",
        ) from None


@contextmanager
def without_compiler() -> Iterator[None]:
    """Within the block, imports do not load torch._dynamo for the two small functions that torchvision and timm use.

    torchvision imports `is_compile_supported`, replaced by a function that loads the real one when called. timm marks
    functions with `torch.compiler.disable`, here a no-op, as no command compiles. Any other access to torch._dynamo
    imports the real one.
    """
    import torch

    if _COMPILER in sys.modules:
        yield
        return
    stand_in, disable = _Utilities(_UTILITIES), torch.compiler.disable
    watch = _Watch(stand_in)
    sys.modules[_UTILITIES], torch.compiler.disable = stand_in, _unmarked  # type: ignore[assignment]
    sys.meta_path.insert(0, watch)  # type: ignore[arg-type]
    try:
        yield
    finally:
        torch.compiler.disable = disable
        sys.meta_path.remove(watch)  # type: ignore[arg-type]
        stand_in.step_aside()


class _Utilities(ModuleType):
    """A stub for torch._dynamo.utils until anything but `is_compile_supported` is accessed."""

    def __getattr__(self, name: str) -> Any:
        if name == "is_compile_supported":
            return _is_compile_supported
        if name.startswith("__"):  # inspect reads these of every module
            raise AttributeError(name)
        self.step_aside()
        return getattr(importlib.import_module(_UTILITIES), name)

    def step_aside(self) -> None:
        """Make way for the real module."""
        if sys.modules.get(_UTILITIES) is self:
            del sys.modules[_UTILITIES]


class _Watch:
    """A finder that finds nothing: it detects the import of the real compiler, whose own files must not see the stub."""

    def __init__(self, stand_in: _Utilities) -> None:
        self._stand_in = stand_in

    def find_spec(self, name: str, *_: object) -> None:
        if name == _COMPILER:
            self._stand_in.step_aside()


def _is_compile_supported(device_type: Any) -> bool:
    return importlib.import_module(_UTILITIES).is_compile_supported(device_type)


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    """A no-op decorator, with or without arguments."""
    return function if function is not None else lambda function: function
