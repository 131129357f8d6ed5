"""What is told of a model name that nobody knows, or that has become another."""

from __future__ import annotations

import pytest

from alignedcut_cli.backbones.load import build_backbone
from alignedcut_cli.backbones.registry import parse_model
from alignedcut_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("tiny-clp", "tiny-clip"),
        ("tiny_mae", "tiny-mae"),
        ("Dino", "dino"),
        ("dinov2", "dinov1"),
        ("vit_tinyy_patch16_224", "vit_tiny_patch16_224"),
        ("open_clip:ViT-B-16-siglip2", "open_clip:ViT-B-16-SigLIP2"),
    ],
)
def test_short_and_shipped_names_are_proposed_first(text: str, first: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_backbone(parse_model(text), None)
    assert caught.value.remedy.startswith(f"Did you mean {first}")
    assert "tinynet" not in caught.value.remedy


def test_a_name_unlike_all_others_is_answered_with_none() -> None:
    with pytest.raises(UsageError) as caught:
        build_backbone(parse_model("qqqqqq"), None)
    assert caught.value.remedy == "See alignedcut models --filter TEXT"


@pytest.mark.filterwarnings("ignore:Mapping deprecated model name")
def test_timm_s_old_names_are_told() -> None:
    backbone = build_backbone(parse_model("vit_tiny_patch16_224_in21k"), 32)
    assert backbone.notes == ("vit_tiny_patch16_224_in21k is timm's old name of vit_tiny_patch16_224.augreg_in21k",)
    assert build_backbone(parse_model("test_vit"), None).notes == ()
