"""Weights files: read without executing their contents, and loaded strictly."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from alignedcut_cli.errors import DataError, first_line

__all__ = ["load_open_clip", "read_state", "require_fit"]


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint: safetensors, or a .pth read with weights_only."""
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        _require_no_tar(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _unreadable(path, error) from None
    for key in ("state_dict", "model", "teacher"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError("weights-unreadable", f"{path} holds no table of tensors", "Give a state dict")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def require_fit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    """Raise DataError, naming missing, unexpected or misshapen keys, unless a checkpoint fits."""
    missing = sorted(set(wanted) - set(given))
    unexpected = sorted(set(given) - set(wanted))
    misshapen = [
        f"{key} {tuple(given[key].shape)} for {tuple(wanted[key].shape)}"
        for key in sorted(set(wanted) & set(given))
        if given[key].shape != wanted[key].shape
    ]
    if missing or unexpected or misshapen:
        parts = [
            f"{len(keys)} {what} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
            for what, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
            if keys
        ]
        raise DataError(
            "weights-mismatch",
            f"{path} does not fit the model: {'; '.join(parts)}",
            "Give the weights of this very model, or another --model",
            missing=missing,
            unexpected=unexpected,
            misshapen=misshapen,
        )


def load_open_clip(module: nn.Module, path: Path) -> None:
    """Load a checkpoint by open_clip's own conversions. Raises DataError if it cannot be read, or does not fit."""
    from open_clip.factory import load_checkpoint

    try:
        _require_no_tar(path)
        load_checkpoint(module, str(path), strict=True, weights_only=True)  # type: ignore[arg-type]
    except Exception as error:
        if not isinstance(error, KeyError) and "Error(s) in loading state_dict" not in str(error):
            raise _unreadable(path, error) from None
        told = " ".join((f"it lacks {error}" if isinstance(error, KeyError) else str(error)).split())[:600]
        raise DataError("weights-mismatch", f"{path} does not fit the model: {told}", "Give its own weights") from None


def _require_no_tar(path: Path) -> None:
    """Raise ValueError for torch's format of before 2017: torch would create a folder before refusing the file."""
    if tarfile.is_tarfile(path):
        raise ValueError("it is a tar archive")


def _unreadable(path: Path, error: Exception) -> DataError:
    """The error for an unreadable file, without torch's advice to load a refused pickle unsafely."""
    text = str(error)
    called = re.search(r"GLOBAL ([\w.]+)", text)
    if called or "TorchScript" in text:
        reason = (
            f"its pickle calls {called[1]}, which is no tensor and may run any code"
            if called
            else "it is a TorchScript archive, which holds code besides tensors"
        )
        return DataError(
            "weights-unsafe",
            f"{path} cannot be read as weights: {reason}; nothing of it was run",
            "Take weights from its maker as safetensors, or, only if you trust the file, save its state dict with "
            "safetensors.torch.save_file",
        )
    reason = "it is no checkpoint of plain tensors" if "weights_only" in text else first_line(error)
    return DataError(
        "weights-unreadable",
        f"{path} cannot be read as weights ({reason})",
        "Give a safetensors file, or a .pth of plain tensors",
    )
