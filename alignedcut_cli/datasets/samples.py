"""The data shipped with alignedcut: synthetic scenes with ground truth, and tiny models trained on them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import InputMissingError

__all__ = ["sample_brain", "sample_data", "sample_models"]


def sample_data() -> Path:
    """The folder sample_data: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "sample_data", package.parent / "sample_data"):
        if (folder / "scenes").is_dir():
            return folder
    raise InputMissingError("sample-data-missing", "this installation has no sample_data", "Install alignedcut again")


def sample_models() -> dict[str, Path]:
    """The tiny models by name: folders in timm's own format. Empty without sample_data."""
    try:
        folder = sample_data() / "models"
    except InputMissingError:
        return {}
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/config.json"))}


def sample_brain() -> Callable[..., Any]:
    """The function that writes the simulated brain into a folder: `write_brain` of sample_data/make/brain.py."""
    folder = sample_data()
    if folder.parent.name == "alignedcut_cli":
        return importlib.import_module("alignedcut_cli.sample_data.make.brain").write_brain
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))
    return importlib.import_module("sample_data.make.brain").write_brain
