"""Model names: the short ones, timm's, open_clip's and torchvision's. Imports none of these libraries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from alignedcut_cli.datasets.samples import sample_models
from alignedcut_cli.errors import InputMissingError, UsageError

__all__ = ["SHORT_NAMES", "TIMM_MODULES", "ModelId", "parse_model"]


@dataclass(frozen=True)
class ModelId:
    """A model: `label` names it in artifacts, `target` is its name at its source.

    `source` is timm, local, open_clip, torchvision or diffusers.
    """

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
"""The timm modules whose models are sequences of attention blocks on one grid of patches."""


def parse_model(text: str) -> ModelId:
    """The model that a name refers to.

    A short name, a shipped model, `open_clip:ARCH/TAG`, `torchvision:NAME[/TAG]`, `local-dir:DIR`, `diffusers:PATH`, or a
    timm name.

    Whether the library has the model is checked on loading.
    """
    if text in SHORT_NAMES:
        return SHORT_NAMES[text][0]
    shipped = sample_models()
    if text in shipped:
        return ModelId(text, "local", str(shipped[text]))
    source, colon, rest = text.partition(":")
    if source in ("open_clip", "torchvision") and rest:
        return ModelId(text, source, rest)
    if source == "local-dir" and rest:
        if not (Path(rest) / "config.json").is_file():
            raise InputMissingError("model-missing", f"{rest} holds no config.json", "Give a folder in timm's format")
        return ModelId(Path(rest).resolve().name, "local", rest)
    if source == "diffusers" and rest:
        return _pipeline(text, rest)
    if colon or not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise UsageError("bad-model", f"--model {text!r} is no model name", "See alignedcut models")
    return ModelId(text, "timm", text)


def _pipeline(text: str, place: str) -> ModelId:
    """A diffusers pipeline: a local folder, else OWNER/NAME on the hub."""
    if Path(place).is_dir():
        return ModelId(Path(place).resolve().name, "diffusers", place)
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", place):
        told = f"{place} is no folder, nor OWNER/NAME of the hub"
        raise InputMissingError("model-missing", told, "Give a folder that a pipeline of diffusers was saved in")
    return ModelId(text, "diffusers", place)
