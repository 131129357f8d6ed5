"""All supported models as a searchable table."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alignedcut_cli.backbones.libraries import import_libraries, without_compiler
from alignedcut_cli.backbones.registry import SHORT_NAMES, TIMM_MODULES
from alignedcut_cli.datasets.samples import sample_models
from alignedcut_cli.errors import UsageError

__all__ = ["COLUMNS", "COUNTED", "Row", "count_parameters", "list_models", "nearest", "select"]

COLUMNS = {
    "name": "what --model takes",
    "source": "timm, open_clip, torchvision, or shipped with alignedcut",
    "architecture": "the network",
    "tag": "of the weights, as their source calls them: objective, data and recipe",
    "data": "what the weights were trained on, as far as the tag says",
    "input": "side of the square input in pixels",
    "parameters": "how many it has",
    "taps": "tokens (attn, block, mlp, q, k, v), maps (every module), captions (text tower)",
    "about": "in words",
}
COUNTED = 30
"""The most models whose parameters are counted: each is built for that, without memory for its weights."""
Row = dict[str, str]
_DATA = {
    "in1k": "ImageNet-1k", "imagenet1k": "ImageNet-1k", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k", "laion2b": "LAION-2B", "laion400m": "LAION-400M", "laion5b": "LAION-5B",
    "laiona": "LAION-Aesthetic", "laion_aesthetic": "LAION-Aesthetic", "webli": "WebLI", "datacomp": "DataComp",
    "commonpool": "CommonPool", "dfn2b": "DFN-2B", "dfn5b": "DFN-5B", "dfndr2b": "DFNDR-2B", "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M", "merged2b": "Merged-2B", "m38m": "Merged-38M", "metaclip": "MetaCLIP", "yfcc15m": "YFCC-15M",
    "yfcc100m": "YFCC-100M", "cc12m": "CC-12M", "mscoco": "COCO", "jft": "JFT", "ig1b": "Instagram", "swsl": "Instagram",
    "openai": "WIT-400M (OpenAI)", "sat493m": "SAT-493M", "inat": "iNaturalist",
}  # fmt: skip


def list_models() -> list[Row]:
    """Every model with its columns, all text: short names and shipped ones, then timm, open_clip, torchvision."""
    import_libraries()
    with without_compiler():
        return [dict.fromkeys(COLUMNS, "") | row for row in _rows()]


def _rows() -> Iterator[Row]:
    import timm

    for name, (model, about) in SHORT_NAMES.items():
        yield _timm_row(timm.get_pretrained_cfg(model.target), "tokens, maps") | {
            "name": name,
            "about": about,
            **({"input": str(model.image_size)} if model.image_size else {}),
        }
    for name, folder in sample_models().items():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        side = str(config["pretrained_cfg"]["input_size"][-1])
        shipped = {"name": name, "source": "alignedcut", "architecture": config["architecture"], "tag": name}
        yield shipped | {"data": "scenes", "input": side, "taps": "tokens, maps", "about": "shipped with alignedcut"}
    tapped = {name for module in TIMM_MODULES for name in timm.list_models(module=module, pretrained=True)}
    for name in timm.list_models(pretrained=True):
        yield _timm_row(timm.get_pretrained_cfg(name), "tokens, maps" if name in tapped else "maps") | {"name": name}
    yield from _open_clip_rows()
    yield from _torchvision_rows()


def _timm_row(config: Any, taps: str) -> Row:
    return {
        "source": "timm",
        "architecture": config.architecture,
        "tag": config.tag or "",
        "data": _data(config.tag or ""),
        "input": str(config.input_size[-1]),
        "taps": taps,
    }


def _open_clip_rows() -> Iterator[Row]:
    import open_clip

    for arch, tag in open_clip.list_pretrained():
        config = open_clip.get_model_config(arch) or {}
        side = config.get("vision_cfg", {}).get("image_size", 224)
        has_tokens = not re.search(r"RN|convnext|coca", arch)
        yield {
            "name": f"open_clip:{arch}/{tag}",
            "source": "open_clip",
            "architecture": arch,
            "tag": tag,
            "data": _data(tag),
            "input": str(side[0] if isinstance(side, list) else side),
            "taps": ("tokens, maps" if has_tokens else "maps")
            + ("" if "hf_model_name" in config.get("text_cfg", {}) else ", captions"),
        }


def _torchvision_rows() -> Iterator[Row]:
    from torchvision import models

    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            made: Any = weights
            yield {
                "name": f"torchvision:{name}/{made.name}",
                "source": "torchvision",
                "architecture": name,
                "tag": made.name,
                "data": _data(made.name.lower()),
                "input": str(made.transforms().crop_size[0]),
                "parameters": str(made.meta["num_params"]),
                "taps": "maps",
            }


def _data(tag: str) -> str:
    """The data sets named in a tag, in its order."""
    found = {tag.find(word): name for word, name in reversed(_DATA.items()) if word in tag}
    return ", ".join(dict.fromkeys(found[place] for place in sorted(found)))


def select(rows: Sequence[Row], text: str, where: Sequence[str], *, exact: bool) -> list[Row]:
    """The rows with `text` in a column, and whose columns match every COLUMN=REGEX, ignoring case: in part, or fully if
    `exact`.

    Raises UsageError for an unknown column or an invalid regular expression.
    """
    tests = [_parsed(one) for one in where]
    return [
        row
        for row in rows
        if any(text.lower() in value.lower() for value in row.values())
        and all((pattern.fullmatch if exact else pattern.search)(row[column]) for column, pattern in tests)
    ]


def _parsed(text: str) -> tuple[str, re.Pattern[str]]:
    column, equals, pattern = text.partition("=")
    if not equals or column not in COLUMNS:
        raise UsageError("bad-where", f"--where {text!r} names no column", f"Give COLUMN=REGEX of {', '.join(COLUMNS)}")
    try:
        return column, re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise UsageError("bad-where", f"--where {text!r} is no regular expression ({error})", "Correct it") from None


def nearest(rows: Sequence[Row], where: Sequence[str], most: int = 5) -> dict[str, list[str]]:
    """For each column that --where names, the existing values closest to the one given."""
    found = {}
    for one in where:
        column, _, wanted = one.partition("=")
        there = {row[column].lower(): row[column] for row in rows if row[column]}
        near = difflib.get_close_matches(wanted.lower(), there, most, 0.3)
        found[column] = [there[value] for value in near] or sorted(set(there.values()))[:most]
    return found


def count_parameters(row: Mapping[str, str]) -> str:
    """The number of parameters of a model, by building it without memory for them; empty where that fails."""
    if row["parameters"]:
        return row["parameters"]
    import torch

    from alignedcut_cli.backbones.network import create_timm

    try:
        with torch.device("meta"), without_compiler():
            if row["source"] == "open_clip":
                import open_clip

                module = open_clip.create_model(row["architecture"], pretrained=None, load_weights=False)
            elif row["source"] == "alignedcut":
                module = create_timm(f"local-dir:{sample_models()[row['name']]}", None)
            else:
                module = create_timm(row["architecture"], None)
            return str(sum(one.numel() for one in module.parameters()))
    except Exception:
        return ""
