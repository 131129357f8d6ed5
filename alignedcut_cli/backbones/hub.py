"""Models on the Hugging Face hub: downloading files once, requiring packages, and checking that weights are complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alignedcut_cli.backbones.registry import ModelId
from alignedcut_cli.errors import DataError, UnavailableError, first_line

__all__ = ["require_package", "require_weights", "snapshot"]


def require_package(package: str, what: str, extra: str) -> None:
    """Raise UnavailableError (exit 69) unless a package is installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        remedy = f"Install it: pip install 'alignedcut[{extra}]'"
        raise UnavailableError("package-missing", f"{what} need the package {package}", remedy)


def snapshot(
    model: ModelId, wanted: Sequence[str], unwanted: Sequence[str], local: str, say: Callable[[str], None]
) -> tuple[Path, str]:
    """The folder of a model on the hub and its revision: the files that match `wanted` and not `unwanted`, downloaded once.

    Raises UnavailableError, naming the form that takes a folder (`local`), if the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    patterns: dict[str, Any] = {"allow_patterns": list(wanted), "ignore_patterns": list(unwanted)}
    try:
        folder = Path(snapshot_download(model.target, local_files_only=True, **patterns))
    except Exception:
        say(f"downloading {model.target} from the hub")
        try:
            folder = Path(snapshot_download(model.target, **patterns))
        except Exception as error:
            raise UnavailableError(
                "weights-unavailable",
                f"{model.label} is not on this disk and cannot be downloaded ({first_line(error)})",
                f"Check the name, or download it elsewhere and give {local}",
            ) from None
    return folder, folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else ""


def require_weights(info: Mapping[str, Any], folder: Path, unused: str = "") -> None:
    """Raise DataError if from_pretrained, by its loading `info`, lacked tensors whose names do not contain `unused`."""
    lost = [str(key) for kind in ("missing_keys", "mismatched_keys") for key in info.get(kind, ())]
    lost = sorted(key for key in lost if not (unused and unused in key))
    if lost:
        told = f"the weights in {folder} lack {len(lost)} tensors ({', '.join(lost[:5])})"
        raise DataError("weights-mismatch", told, "Give the weights of this very model")
