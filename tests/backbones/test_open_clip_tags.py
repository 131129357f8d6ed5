"""open_clip's models without a tag: what their weights expect is what all tags say, or is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
from open_clip import pretrained

from alignedcut_cli.backbones.load import build_backbone, find_weights
from alignedcut_cli.backbones.open_clip_tags import agreed_expectation
from alignedcut_cli.backbones.registry import ModelId
from alignedcut_cli.errors import UnavailableError, UsageError
from alignedcut_cli.store.features import FeatureSet
from tests.conftest import Cli
from tests.helpers.open_clips import open_clip_model, random_weights

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bilinear", "resize_mode": "squash"}


def expectation(arch: str) -> dict[str, object]:
    return agreed_expectation(arch, open_clip.get_model_config(arch) or {})


def records(arch: str) -> dict[str, dict[str, object]]:
    return {tag: open_clip.get_pretrained_cfg(arch, tag) for tag in open_clip.list_pretrained_tags_by_model(arch)}


@pytest.fixture
def model(tmp_path: Path) -> ModelId:
    """A small architecture with GELU, to which a test gives tags."""
    return open_clip_model(tmp_path, quick_gelu=False)


def test_siglip_without_a_tag_is_normalised_as_its_tags_say() -> None:
    for arch in ("ViT-B-16-SigLIP2", "ViT-B-16-SigLIP", "ViT-SO400M-14-SigLIP2-378"):
        wanted = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bicubic", "quick_gelu": False}
        assert expectation(arch) == wanted


def test_openai_s_vits_have_quick_gelu_without_a_tag() -> None:
    for arch in ("ViT-L-14-336", "ViT-B-32-quickgelu", "roberta-ViT-B-32"):
        assert expectation(arch)["quick_gelu"] is True
    assert expectation("ViT-g-14")["quick_gelu"] is False


def test_tags_that_differ_only_in_cropping_agree() -> None:
    modes = {record["resize_mode"] for record in records("ViT-H-14-quickgelu").values()}
    assert modes == {"shortest", "squash"}
    assert expectation("ViT-H-14-quickgelu")["quick_gelu"] is True


def test_an_architecture_agrees_if_and_only_if_all_of_its_tags_do() -> None:
    refused = set()
    for arch in {arch for arch, _ in open_clip.list_pretrained()}:
        always = bool((open_clip.get_model_config(arch) or {}).get("quick_gelu"))
        kinds = {
            (*(record[key] for key in ("mean", "std", "interpolation")), always or bool(record.get("quick_gelu")))
            for record in records(arch).values()
        }
        if len(kinds) == 1:
            assert tuple(expectation(arch).values()) == kinds.pop()
            continue
        refused.add(arch)
        with pytest.raises(UsageError, match=f"open_clip:{arch} names no tag") as caught:
            expectation(arch)
        assert all(tag in caught.value.message for tag in records(arch))
    assert refused >= {"ViT-B-16", "ViT-B-32", "ViT-L-14"}


def test_what_differs_between_tags_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        expectation("ViT-bigG-14")
    assert "(activation GELU: laion2b_s39b_b160k; activation QuickGELU: metaclip_fullcc)" in caught.value.message
    assert "Give open_clip:ViT-bigG-14/TAG with --weights FILE" in caught.value.remedy
    with pytest.raises(
        UsageError, match=r"mean 0\.5 0\.5 0\.5, std 0\.5 0\.5 0\.5, activation GELU: laion2b_s32b_b82k"
    ):
        expectation("ViT-L-14")


def test_a_model_without_a_tag_sees_what_its_tag_sees(
    cli: Cli, photos: Path, model: ModelId, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights with and without the tag give the same features, and the artifact states how."""
    plain = random_weights(model, tmp_path / "weights.safetensors")
    monkeypatch.setitem(pretrained._PRETRAINED, model.target, {"one": {**HALF, "quick_gelu": True}, "two": HALF})
    image = photos / "photo-00.png"
    argv = ("extract", image, "-p", tmp_path / "study", "--weights", plain, "-m")
    assert cli(*argv, model.label).status == 2
    monkeypatch.delitem(pretrained._PRETRAINED[model.target], "two")

    tagged = cli(*argv, f"{model.label}/one", "--name", "tagged")
    untagged = cli(*argv, model.label, "--name", "untagged")
    assert (tagged.status, untagged.status) == (0, 0)
    assert tagged.err == ""
    assert untagged.err == (
        f"alignedcut extract: {model.label} names no tag: taken are mean 0.5 0.5 0.5, std 0.5 0.5 0.5, "
        "interpolation bilinear, activation QuickGELU, as its tags have (one)\n"
    )
    first, second = (FeatureSet(tmp_path / "study" / "features" / name) for name in ("tagged", "untagged"))
    assert first.header.content == second.header.content
    for features, name in ((first, "tiny-plain-gelu/one"), (second, "tiny-plain-gelu-quickgelu")):
        params, numerics = features.header.params, features.header.raw["numerics"]
        assert params["model"] == name
        assert params["preprocess"] == {
            "size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "aspect": "squash",
        }  # fmt: skip
        assert numerics["activation"] == "QuickGELU"
    monkeypatch.delitem(pretrained._PRETRAINED, model.target)
    assert cli(*argv, model.label, "--name", "default").status == 0
    default = FeatureSet(tmp_path / "study" / "features" / "default")
    assert default.header.raw["numerics"]["activation"] == "GELU"
    assert not np.array_equal(default.blocks("tokens.02")[0], second.blocks("tokens.02")[0])


def test_an_architecture_without_any_tag_takes_open_clip_s_defaults_and_says_so(model: ModelId) -> None:
    backbone = build_backbone(model, None)
    assert backbone.preprocess.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    assert backbone.activation == "GELU"
    assert backbone.resolved == model.target
    assert backbone.notes == (
        "open_clip:tiny-plain-gelu names no tag: taken are mean 0.481455 0.457827 0.408211, std 0.26863 0.261303 "
        "0.275777, interpolation bicubic, activation GELU, open_clip's defaults, as it publishes no weights of it; "
        "weights trained otherwise do not fit them",
    )


def test_weights_without_a_tag_are_told_the_tags(model: ModelId, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretrained._PRETRAINED, model.target, {"one": HALF, "two": HALF})
    with pytest.raises(UnavailableError, match=r"cannot be downloaded \(no /TAG was given: one, two\)"):
        find_weights(build_backbone(model, None), None)


@pytest.mark.parametrize("target", ["hf-hub:timm/ViT-B-16-SigLIP2", "ViT-B-16-SigLIP2/"])
def test_the_hub_s_own_names_and_an_empty_tag_are_no_models(target: str) -> None:
    with pytest.raises(UsageError, match="there is no model"):
        build_backbone(ModelId("x", "open_clip", target), None)
