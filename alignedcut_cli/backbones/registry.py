"""Model names: the short ones, timm's and open_clip's. Imports neither timm nor open_clip until asked to list them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from alignedcut_cli.datasets.samples import sample_models
from alignedcut_cli.errors import InputMissingError, UsageError

__all__ = ["SHORT_NAMES", "TIMM_MODULES", "ModelId", "list_models", "parse_model"]


@dataclass(frozen=True)
class ModelId:
    """A model: `label` names it in artifacts, `source` is timm, local or open_clip, `target` is its name there."""

    label: str
    source: str
    target: str
    image_size: int | None = None

    @property
    def artifact_name(self) -> str:
        """The default name of its feature set."""
        return re.sub(r"[^A-Za-z0-9._+-]+", "-", self.label).strip("-.")


SHORT_NAMES: dict[str, tuple[ModelId, str]] = {
    "clip": (
        ModelId("clip", "timm", "vit_base_patch16_clip_quickgelu_224.openai"),
        "CLIP ViT-B/16, OpenAI weights, QuickGELU",
    ),
    "dino": (
        ModelId("dino", "timm", "vit_base_patch14_reg4_dinov2.lvd142m", 196),
        "DINOv2 ViT-B/14 with registers, at 196 px: a grid of 14 x 14",
    ),
    "mae": (ModelId("mae", "timm", "vit_base_patch16_224.mae"), "MAE ViT-B/16"),
    "dinov1": (ModelId("dinov1", "timm", "vit_base_patch16_224.dino"), "DINO (2021) ViT-B/16"),
    "deit": (ModelId("deit", "timm", "deit_base_patch16_224.fb_in1k"), "DeiT-B/16, supervised on ImageNet-1k"),
}


TIMM_MODULES = (
    "vision_transformer", "deit", "eva", "beit", "cait", "convit", "deepseek_vit", "gemma4_vit", "naflexvit",
    "qwen3_vit", "tnt", "vision_transformer_hybrid", "vision_transformer_relpos", "vision_transformer_sam",
    "vitamin", "xcit",
)  # fmt: skip
"""The modules of timm whose models are sequences of attention blocks on one grid of patches."""


def parse_model(text: str) -> ModelId:
    """The model that a name stands for.

    A short name, a shipped model, `open_clip:ARCH/TAG`, `local-dir:DIR`, or a timm name.

    Whether timm or open_clip knows the name is checked when it is loaded.
    """
    if text in SHORT_NAMES:
        return SHORT_NAMES[text][0]
    shipped = sample_models()
    if text in shipped:
        return ModelId(text, "local", str(shipped[text]))
    source, colon, rest = text.partition(":")
    if source == "open_clip" and rest:
        return ModelId(text, "open_clip", rest)
    if source == "local-dir" and rest:
        if not (Path(rest) / "config.json").is_file():
            raise InputMissingError("model-missing", f"{rest} holds no config.json", "Give a folder in timm's format")
        return ModelId(Path(rest).resolve().name, "local", rest)
    if colon or not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise UsageError("bad-model", f"--model {text!r} is no model name", "See alignedcut models")
    return ModelId(text, "timm", text)


def list_models(text: str = "") -> list[tuple[str, str]]:
    """(name, what it is) of every model that can be extracted and whose name or description contains `text`."""
    import open_clip
    import timm

    rows = [(name, description) for name, (_, description) in SHORT_NAMES.items()]
    rows += [(name, "shipped with alignedcut") for name in sample_models()]
    rows += [(name, "timm") for module in TIMM_MODULES for name in timm.list_models(module=module, pretrained=True)]
    rows += [
        (f"open_clip:{arch}/{tag}", "open_clip")
        for arch, tag in open_clip.list_pretrained()
        if not re.search(r"RN|convnext|coca", arch)
    ]
    return [row for row in rows if text.lower() in f"{row[0]} {row[1]}".lower()]
