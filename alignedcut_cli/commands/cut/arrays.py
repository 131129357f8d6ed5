"""What the tasks of a cut hand on as named arrays, and what these depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["arrays_of", "made_of", "numerics", "tensor_of"]

Made = TypeVar("Made")


def arrays_of(value: Any) -> dict[str, np.ndarray]:
    """The fields of a data class: tensors as they are, numbers as one element."""
    import numpy as np
    import torch

    found = {one.name: getattr(value, one.name) for one in fields(value)}
    return {
        name: one.cpu().numpy() if isinstance(one, torch.Tensor) else np.array([one]) for name, one in found.items()
    }


def made_of(kind: type[Made], arrays: Mapping[str, np.ndarray], device: torch.device) -> Made:
    """The data class whose `arrays_of` are among these, its tensors on a device but for ids, which stay on the CPU."""
    values: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        array = arrays[one.name]
        if one.type in ("float", "int"):
            values[one.name] = array[0].item()
        else:
            values[one.name] = tensor_of(array, device if array.dtype.kind == "f" else None)
    return kind(**values)


def numerics(device: torch.device) -> dict[str, str]:
    """What the bytes of parts may depend on besides the recipe."""
    import torch

    return {"torch": torch.__version__, "device": device.type, "ranges": "a power of two"}


def tensor_of(array: np.ndarray, device: torch.device | None = None) -> torch.Tensor:
    """A copy of an array, which may be mapped, as a tensor."""
    import numpy as np
    import torch

    return torch.from_numpy(np.array(array)).to(device or "cpu")
