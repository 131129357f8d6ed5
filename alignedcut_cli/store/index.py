"""The index.json of a feature set: the header of an artifact that is a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors
from alignedcut_cli.store.header import Header, header_from

__all__ = ["INDEX", "read_index", "read_json"]

INDEX = "index.json"


def read_json(path: Path) -> Any:
    """What a JSON file of the store holds. Raises DataError for other text, and disk errors as AlignedcutError."""
    with disk_errors(path):
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise DataError("artifact-corrupt", f"{path} is no JSON", "Make the feature set again") from None


def read_index(folder: Path) -> Header:
    """The checked header of a feature set."""
    return header_from(read_json(folder / INDEX), str(folder / INDEX))
