"""The header of an artifact, which is one safetensors file, or a folder of them with an index.json."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors
from alignedcut_cli.store.header import Header, header_from
from alignedcut_cli.store.ranges import joined_id
from alignedcut_cli.store.tensors import layout_header, read_layout

__all__ = ["INDEX", "is_artifact_folder", "is_shard_name", "read_header", "read_index", "read_json"]

INDEX = "index.json"


def read_json(path: Path) -> Any:
    """The value in a JSON file of the store. Raises DataError for malformed text, and disk errors as AlignedcutError."""
    with disk_errors(path):
        if path.exists() and not path.is_file():
            raise DataError("artifact-corrupt", f"{path} is no regular file", "Make it again")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise DataError("artifact-corrupt", f"{path} is no JSON", "Make it again") from None


def is_shard_name(value: object) -> bool:
    """Whether a value is the name of a shard's file in the artifact's own folder."""
    return isinstance(value, str) and re.fullmatch(r"[0-9]{5,}-of-[0-9]{5,}\.safetensors", value) is not None


def is_artifact_folder(folder: Path) -> bool:
    """Whether a folder holds shards; other folders next to artifacts are not the project's."""
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    with disk_errors(folder), os.scandir(folder) as entries:
        return any(is_shard_name(entry.name) for entry in entries)


def read_header(path: Path) -> Header:
    """The checked provenance header of an artifact, a file or a folder; no tensor is read.

    Raises InputMissingError if it is missing, and DataError as `header_from` does.
    """
    return _read_folder(path) if is_artifact_folder(path) else layout_header(read_layout(path))


def _read_folder(folder: Path) -> Header:
    """The checked header of an artifact in shards, whose content id is made of theirs."""
    header = _indexed(folder)
    if joined_id([shard["content"] for shard in header.raw["shards"]]) != header.content:
        raise DataError("artifact-corrupt", f"{folder / INDEX}: its shards are not its content", "Make it again")
    return header


def read_index(folder: Path) -> Header:
    """The checked header of a feature set, with its shards, images and slots. Raises DataError as `header_from` does."""
    header = _indexed(folder)
    found = {"images": header.axes.get("B", {}).get("images"), "slots": header.axes.get("S", {}).get("slots")}
    if lacking := [name for name, there in found.items() if not there]:
        raise _without(folder, lacking[0])
    return header


def _indexed(folder: Path) -> Header:
    header = header_from(read_json(folder / INDEX), str(folder / INDEX))
    shards = header.raw.get("shards")
    if not (isinstance(shards, list) and shards and all(map(_is_shard, shards))):
        raise _without(folder, "shards")
    return header


def _without(folder: Path, what: str) -> DataError:
    return DataError("artifact-corrupt", f"{folder / INDEX} has no list of {what}", "Make it again")


def _is_shard(value: object) -> bool:
    return isinstance(value, dict) and is_shard_name(value.get("file")) and isinstance(value.get("content"), str)
