"""The input normalisation and activation that the published weights (tags) of an open_clip architecture expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alignedcut_cli.backbones.preprocess import Preprocess
from alignedcut_cli.errors import UsageError

__all__ = ["agreed_expectation", "list_tags", "tell_expectation"]


def list_tags(arch: str) -> list[str]:
    """The tags of an architecture's published weights; none if open_clip publishes none."""
    import open_clip

    return open_clip.list_pretrained_tags_by_model(arch)


def agreed_expectation(arch: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """{mean, std, interpolation, quick_gelu} that all tags of an architecture share; {} if it has no tag.

    `config` is the architecture's own, which may set QuickGELU whatever the tag; a timm tower has its own
    activation. Cropping is ignored, as the whole image is always used. Raises UsageError, listing the tags and their
    differences, if they disagree.
    """
    import open_clip

    native = "timm_model_name" in config["vision_cfg"]
    found: dict[str, dict[str, Any]] = {}
    for tag in list_tags(arch):
        record = open_clip.get_pretrained_cfg(arch, tag)
        quick = not native and bool(record.get("quick_gelu") or config.get("quick_gelu"))
        found[tag] = {**{key: record.get(key) for key in ("mean", "std", "interpolation")}, "quick_gelu": quick}
    first = next(iter(found.values()), {})
    differing = [key for key in first if any(one[key] != first[key] for one in found.values())]
    if differing:
        groups: dict[str, list[str]] = {}
        for tag, one in found.items():
            groups.setdefault(_told(one, differing), []).append(tag)
        told = "; ".join(f"{values}: {', '.join(tags)}" for values, tags in groups.items())
        raise UsageError(
            "tag-needed",
            f"open_clip:{arch} names no tag, and what its tags expect differs ({told})",
            f"Give open_clip:{arch}/TAG with --weights FILE, the TAG that FILE holds or was trained from",
            tags=groups,
        )
    return {key: value for key, value in first.items() if value is not None}


def tell_expectation(arch: str, preprocess: Preprocess, activation: str) -> str:
    """The note on a model without a tag: the values used, and why."""
    values = {"mean": preprocess.mean, "std": preprocess.std, "interpolation": preprocess.interpolation}
    taken = f"open_clip:{arch} names no tag: taken are {_told(values, list(values))}, activation {activation}"
    tags = list_tags(arch)
    if tags:
        return f"{taken}, as its tags have ({', '.join(tags)})"
    return f"{taken}, open_clip's defaults, as it publishes no weights of it; weights trained otherwise do not fit them"


def _told(values: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Some of the values as text: mean 0.5 0.5 0.5, activation QuickGELU."""
    return ", ".join(
        f"activation {'QuickGELU' if values[key] else 'GELU'}"
        if key == "quick_gelu"
        else f"{key} {values[key] if isinstance(values[key], str) else ' '.join(f'{one:g}' for one in values[key])}"
        for key in keys
    )
