"""The index.json of a feature set, the header of an artifact that is a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors
from alignedcut_cli.store.header import Header, header_from

__all__ = ["INDEX", "is_shard_name", "read_index", "read_json"]

INDEX = "index.json"


def read_json(path: Path) -> Any:
    """The value in a JSON file of the store. Raises DataError for malformed text, and disk errors as AlignedcutError."""
    with disk_errors(path):
        if path.exists() and not path.is_file():
            raise DataError("artifact-corrupt", f"{path} is no regular file", "Make the feature set again")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise DataError("artifact-corrupt", f"{path} is no JSON", "Make the feature set again") from None


def is_shard_name(value: object) -> bool:
    """Whether a value is the name of a shard's file in the set's own folder."""
    return isinstance(value, str) and re.fullmatch(r"[0-9]{5,}-of-[0-9]{5,}\.safetensors", value) is not None


def read_index(folder: Path) -> Header:
    """The checked header of a feature set, with its shards, images and slots. Raises DataError as `header_from` does."""
    header = header_from(read_json(folder / INDEX), str(folder / INDEX))
    shards, axes = header.raw.get("shards"), header.axes
    found = {
        "shards": isinstance(shards, list) and shards and all(map(_is_shard, shards)),
        "images": axes.get("B", {}).get("images"),
        "slots": axes.get("S", {}).get("slots"),
    }
    if lacking := [name for name, there in found.items() if not there]:
        told = f"{folder / INDEX} has no list of {lacking[0]}"
        raise DataError("artifact-corrupt", told, "Make the feature set again")
    return header


def _is_shard(value: object) -> bool:
    return isinstance(value, dict) and is_shard_name(value.get("file")) and isinstance(value.get("content"), str)
