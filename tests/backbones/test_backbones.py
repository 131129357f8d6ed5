"""Taps, token order, preprocessing and weights, on tiny random models of timm and open_clip."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alignedcut_cli.backbones.libraries import import_libraries
from alignedcut_cli.backbones.load import (
    Backbone,
    WeightsFile,
    build_backbone,
    find_weights,
    load_weights,
)
from alignedcut_cli.backbones.pipeline import (
    TokenChoice,
    batch_size_for,
    bytes_per_image,
    draw_tokens,
    extract_shards,
    parse_tokens,
    tensor_meanings,
)
from alignedcut_cli.backbones.preprocess import preprocess_from
from alignedcut_cli.backbones.registry import SHORT_NAMES, ModelId, parse_model
from alignedcut_cli.backbones.taps import TAPS
from alignedcut_cli.datasets.images import decode, read_manifest
from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError, UnavailableError, UsageError
from alignedcut_cli.frame.config import parse_layers
from tests.helpers.open_clips import open_clip_model
from tests.helpers.vits import local_model, pictures, randomised

CPU = torch.device("cpu")
TIMM = {
    "plain": {"architecture": "vit_tiny_patch16_224"},
    "registers-layerscale": {"architecture": "vit_small_patch14_reg4_dinov2", "init_values": 0.3, "reg_tokens": 3},
    "no-class-token": {"architecture": "vit_base_patch16_siglip_224"},
    "qk-norm": {"architecture": "vit_tiny_patch16_224", "qk_norm": True},
    "distilled": {"architecture": "deit_tiny_distilled_patch16_224"},
    "eva": {"architecture": "eva02_tiny_patch14_224"},
}


@pytest.fixture(params=[*TIMM, "open_clip", "open_clip-layerscale"])
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    """A small random vision transformer of each kind that has its own way of writing a block."""
    name = request.param
    if name in TIMM:
        return randomised(build_backbone(local_model(tmp_path / name, **TIMM[name]), None))  # type: ignore[arg-type]
    return randomised(
        build_backbone(open_clip_model(tmp_path, **({"ls_init_value": 0.2} if "scale" in name else {})), None)
    )


@torch.inference_mode()
def test_taps_rebuild_the_residual_stream(backbone: Backbone) -> None:
    """block_l = block_(l-1) + attn_l + mlp_l: the taps are what the model itself adds up."""
    images = pictures(2, backbone.preprocess.size)
    attn, mlp, block = (backbone.features(images, [0, 1, 2], tap) for tap in ("attn", "mlp", "block"))
    first: list[torch.Tensor] = []
    hook = backbone.blocks[0].register_forward_pre_hook(lambda _module, inputs: first.append(inputs[0]))
    backbone.forward(images)
    hook.remove()
    from alignedcut_cli.backbones.taps import patch_tokens

    stream = patch_tokens(first[0], backbone.class_token, backbone.prefix)
    for layer in range(3):
        assert float(attn[layer].abs().max()) > 1e-3
        stream = stream + attn[layer] + mlp[layer]
        torch.testing.assert_close(stream, block[layer], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_nothing_is_computed_after_the_last_wanted_tap(backbone: Backbone) -> None:
    ran: list[int] = []
    for number, block in enumerate(backbone.blocks):
        block.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
    images = pictures(1, backbone.preprocess.size)
    before = backbone.features(images, [0, 1], "attn")
    assert ran == [0]
    ran.clear()
    backbone.tap_features(images, [0, 1], ["q", "mlp"])
    assert ran == [0, 1]
    ran.clear()
    backbone.forward(images)
    assert ran == list(range(len(backbone.blocks)))
    assert all(
        torch.equal(one, two) for one, two in zip(before, backbone.features(images, [0, 1], "attn"), strict=True)
    )


@torch.inference_mode()
def test_queries_keys_and_values_give_the_attention(backbone: Backbone) -> None:
    """softmax(q k^T / sqrt(d)) v of the taps, through the model's own output projection, is the attention's output."""
    if "Eva" in type(backbone.blocks[0]).__name__ or (
        hasattr(backbone.blocks[0].attn, "q_norm") and not isinstance(backbone.blocks[0].attn.q_norm, torch.nn.Identity)
    ):
        parts = [backbone.features(pictures(1, backbone.preprocess.size), [1], tap)[0] for tap in "qkv"]
        assert all(part.shape == parts[0].shape for part in parts)
        assert not torch.equal(parts[0], parts[1])
        return
    if backbone.prefix > 1:
        assert backbone.features(pictures(1, backbone.preprocess.size), [1], "q")[0].shape[1] == backbone.tokens
        return
    block = backbone.blocks[1]
    images = pictures(2, backbone.preprocess.size)
    q, k, v = (backbone.features(images, [1], tap)[0] for tap in "qkv")
    heads = block.attn.num_heads

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    mixed = torch.nn.functional.scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).flatten(2)
    project = block.attn.out_proj if hasattr(block.attn, "out_proj") else block.attn.proj
    scale = block.ls_1 if hasattr(block, "ls_1") else block.ls1
    torch.testing.assert_close(scale(project(mixed)), backbone.features(images, [1], "attn")[0], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_tokens_are_class_token_then_rows(backbone: Backbone) -> None:
    """Only the token that lies over a changed patch changes at the input of the first block."""
    size = backbone.preprocess.size
    rows, columns = backbone.grid
    assert backbone.tokens == rows * columns + backbone.class_token
    images = pictures(1, size).repeat(2, 1, 1, 1)
    step = size // rows
    images[1, :, 2 * step : 3 * step, 1 * step : 2 * step] += 1
    entering: list[torch.Tensor] = []
    hook = backbone.blocks[0].register_forward_pre_hook(lambda _module, inputs: entering.append(inputs[0]))
    backbone.forward(images)
    hook.remove()
    from alignedcut_cli.backbones.taps import patch_tokens

    tokens = patch_tokens(entering[0], backbone.class_token, backbone.prefix)
    changed = (tokens[0] - tokens[1]).abs().amax(1) > 1e-4
    assert changed.nonzero().flatten().tolist() == [backbone.class_token + 2 * columns + 1]


@torch.inference_mode()
def test_fewer_layers_give_the_same_features(backbone: Backbone) -> None:
    images = pictures(1, backbone.preprocess.size)
    for tap in TAPS:
        every = backbone.features(images, [0, 1, 2], tap)
        assert torch.equal(backbone.features(images, [1], tap)[0], every[1])


@torch.inference_mode()
def test_several_taps_are_read_in_one_pass_as_each_alone(backbone: Backbone) -> None:
    images = pictures(2, backbone.preprocess.size)
    passes: list[int] = []
    hook = backbone.blocks[0].register_forward_pre_hook(lambda *_: passes.append(1))
    found = backbone.tap_features(images, [0, 2], ("q", "attn", "v"))
    assert len(passes) == 1 and list(found) == ["q", "attn", "v"]
    hook.remove()
    for tap, layers in found.items():
        for layer, alone in zip(layers, backbone.features(images, [0, 2], tap), strict=True):
            assert torch.equal(layer, alone)


def test_heads_split_the_channels_of_q(backbone: Backbone) -> None:
    """heads and scale are those of the attention that the model computes: scale = 1 / sqrt(channels of a head)."""
    known, width = backbone.heads(1), backbone.widths([1], "q")[0]
    assert width % known["heads"] == 0
    assert known["scale"] == pytest.approx((width / known["heads"]) ** -0.5)


def test_no_hook_stays_behind(backbone: Backbone) -> None:
    with torch.inference_mode():
        backbone.features(pictures(1, backbone.preprocess.size), [0, 2], "attn")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.module.modules())


def test_a_block_without_the_tap_is_named(tmp_path: Path) -> None:
    model = local_model(tmp_path / "parallel", "vit_tiny_patch16_224")
    backbone = build_backbone(model, None)
    del backbone.blocks[1].drop_path1
    with pytest.raises(UnavailableError, match=r"layer 1 \(Block\) has no tap 'attn'"):
        backbone.features(pictures(1, 32), [0, 1], "attn")


def test_a_network_that_is_no_vision_transformer_is_refused() -> None:
    with pytest.raises(UnavailableError, match="is no vision transformer"):
        build_backbone(ModelId("resnet18", "timm", "test_resnet"), None)


@pytest.mark.parametrize(
    "text",
    ["vit_tinyy_patch16_224", "vit_tiny_patch16_224.nosuchtag", "open_clip:ViT-B-99", "open_clip:ViT-B-16/nosuch"],
)
def test_a_misspelt_model_is_answered_with_near_names(text: str) -> None:
    with pytest.raises(UsageError, match="there is no model") as caught:
        build_backbone(parse_model(text), None)
    assert "See alignedcut models" in caught.value.remedy
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("text", ["", "a b", "hub:x", "../evil", "local-dir:"])
def test_what_is_no_model_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no model name"):
        parse_model(text)


def test_short_names_are_the_models_of_the_paper() -> None:
    assert {"clip", "dino", "mae", "dinov1", "deit"} <= set(SHORT_NAMES)
    clip = build_backbone(parse_model("clip"), 32)
    assert "QuickGELU" in repr(clip.blocks[0])
    assert clip.preprocess.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    dino = build_backbone(replace(parse_model("dino"), target="vit_small_patch14_reg4_dinov2.lvd142m"), None)
    assert (dino.preprocess.size, dino.grid, dino.prefix, dino.tokens) == (196, (14, 14), 5, 197)


def test_openai_weights_in_open_clip_force_quick_gelu() -> None:
    backbone = build_backbone(parse_model("open_clip:ViT-B-32/openai"), None)
    assert "QuickGELU" in repr(backbone.blocks[0])
    assert backbone.preprocess.interpolation == "bicubic"


def test_an_image_size_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = local_model(tmp_path / "m", "vit_tiny_patch16_224")
    assert build_backbone(model, 64).grid == (8, 8)
    with pytest.raises(AlignedcutError, match="33"):
        build_backbone(model, 33)


# weights


def saved(backbone: Backbone, path: Path, **changes: torch.Tensor | None) -> Path:
    from safetensors.torch import save_file

    state = {**backbone.module.state_dict(), **changes}
    save_file({key: value.contiguous() for key, value in state.items() if value is not None}, path)
    return path


def test_weights_load_into_the_same_features(backbone: Backbone, tmp_path: Path) -> None:
    images = pictures(1, backbone.preprocess.size)
    with torch.inference_mode():
        wanted = backbone.features(images, [2], "block")[0]
        fresh = build_backbone(backbone.id, None)
        assert not torch.allclose(fresh.features(images, [2], "block")[0], wanted)
        loaded = load_weights(fresh, WeightsFile(saved(backbone, tmp_path / "w.safetensors")), CPU)
        torch.testing.assert_close(loaded.features(images, [2], "block")[0], wanted)


def test_a_pth_is_read_with_plain_tensors_only(tmp_path: Path) -> None:
    backbone = randomised(build_backbone(local_model(tmp_path / "m", "vit_tiny_patch16_224"), None))
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in backbone.module.state_dict().items()}}, path)
    load_weights(build_backbone(backbone.id, None), WeightsFile(path), CPU)
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(DataError, match="cannot be read as weights"):
        load_weights(build_backbone(backbone.id, None), WeightsFile(path), CPU)
    assert not (tmp_path / "owned").exists()


class Evil:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch owned",)


def test_weights_that_do_not_fit_are_named_key_by_key(tmp_path: Path) -> None:
    backbone = build_backbone(local_model(tmp_path / "m", "vit_tiny_patch16_224"), None)
    bad = saved(
        backbone,
        tmp_path / "bad.safetensors",
        **{"norm.bias": None, "extra": torch.ones(1), "norm.weight": torch.ones(3)},
    )
    with pytest.raises(
        DataError, match=r"1 missing \(norm.bias\); 1 unexpected \(extra\); 1 misshapen \(norm.weight"
    ) as caught:
        load_weights(backbone, WeightsFile(bad), CPU)
    assert caught.value.details["missing"] == ["norm.bias"]


def test_weights_that_do_not_fit_open_clip_are_refused(tmp_path: Path) -> None:
    backbone = build_backbone(open_clip_model(tmp_path), None)
    bad = saved(backbone, tmp_path / "bad.safetensors", **{"visual.conv1.weight": None})
    with pytest.raises(DataError, match=r"visual\.conv1\.weight"):
        load_weights(backbone, WeightsFile(bad), CPU)


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 nor this"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_holds_no_weights_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    backbone = build_backbone(local_model(tmp_path / "m", "vit_tiny_patch16_224"), None)
    with pytest.raises(DataError, match="cannot be read as weights"):
        load_weights(backbone, WeightsFile(path), CPU)


def test_weights_that_are_nowhere_are_missing(tmp_path: Path) -> None:
    backbone = build_backbone(local_model(tmp_path / "m", "vit_tiny_patch16_224"), None)
    with pytest.raises(InputMissingError, match="does not exist"):
        find_weights(backbone, tmp_path / "none.safetensors")
    with pytest.raises(InputMissingError, match=r"holds no model\.safetensors"):
        find_weights(backbone, None)


def test_a_hub_out_of_reach_exits_69(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    backbone = build_backbone(parse_model("test_vit"), None)
    with pytest.raises(UnavailableError, match=r"test_vit\.r160_in1k are not on this disk.*no route to host") as caught:
        find_weights(backbone, None)
    assert caught.value.exit_status == 69
    assert "--weights FILE" in caught.value.remedy


def test_torch_and_torchvision_that_are_no_pair_exit_69(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(
        UnavailableError, match=r"torch 2.*torchvision 0.*operator torchvision::nms does not exist"
    ) as caught:
        import_libraries()
    assert caught.value.exit_status == 69
    assert "torch and torchvision as a pair" in caught.value.remedy


# preprocessing


def test_preprocessing_is_the_configuration_s(tmp_path: Path) -> None:
    """Against torchvision's own resize, to-tensor and normalise."""
    from torchvision.transforms import v2

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8))
    backbone = build_backbone(local_model(tmp_path / "m", "vit_tiny_patch16_224"), None)
    assert backbone.preprocess.as_object() == {
        "size": 32,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "interpolation": "bilinear",
        "aspect": "squash",
    }
    ours = backbone.preprocess.normalise(backbone.preprocess.resize(image)[None], CPU)[0]
    resized = v2.functional.resize(image, [32, 32], v2.InterpolationMode.BILINEAR)
    theirs = v2.functional.normalize(
        v2.functional.to_dtype(v2.functional.pil_to_tensor(resized), torch.float32, True),
        [0.5, 0.4, 0.3],
        [0.2, 0.3, 0.4],
    )
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mean", [None, 0.5, [0.5], "abc", [0.5, None, 0.5], [0.5, 1e999, 0.5], {}, [[0.5], 1, 2]])
def test_a_mean_that_is_not_three_numbers_is_refused(mean: object) -> None:
    for config in ({"mean": mean, "std": [1, 1, 1]}, {"mean": [0, 0, 0], "std": mean}):
        with pytest.raises(DataError, match="states no mean and std"):
            preprocess_from(224, config, "m")


def test_a_configuration_without_a_mean_is_refused() -> None:
    with pytest.raises(DataError, match="states no mean and std"):
        preprocess_from(32, {"std": (1, 1, 1)}, "m")


# the loop


def run_loop(backbone: Backbone, paths: list[Path], batch_size: int, **more: object) -> list[dict[str, np.ndarray]]:
    shards = [(0, 0, 9), (1, 9, len(paths))]
    found = extract_shards(backbone, paths, shards, [0, 2], batch_size=batch_size, **more)  # type: ignore[arg-type]
    return [tensors["attn"] for _, tensors in found]


@pytest.fixture
def loop(tmp_path: Path, photos: Path) -> tuple[Backbone, list[Path]]:
    return randomised(build_backbone(local_model(tmp_path / "m", "vit_tiny_patch16_224"), None)), sorted(
        photos.rglob("*.png")
    )


@pytest.mark.parametrize("tokens", [TokenChoice(True), TokenChoice(False), TokenChoice(False, 5)])
def test_shards_are_the_same_for_batch_sizes_1_and_7(loop: tuple[Backbone, list[Path]], tokens: TokenChoice) -> None:
    first, second = (run_loop(*loop, batch_size, tokens=tokens) for batch_size in (1, 7))
    for left, right in zip(first, second, strict=True):
        assert set(left) == set(right) == set(tensor_meanings([0, 2], tokens))
        assert all(np.array_equal(left[name], right[name]) for name in left)


def test_shards_hold_what_the_model_gives(loop: tuple[Backbone, list[Path]]) -> None:
    backbone, paths = loop
    shards = run_loop(backbone, paths, 4, tokens=TokenChoice(True, 3), dtype="float32")
    pixels = np.stack([backbone.preprocess.resize(decode(path, backbone.preprocess.size)) for path in paths])
    with torch.inference_mode():
        truth = backbone.features(backbone.preprocess.normalise(pixels, CPU), [0, 2], "attn")
    for layer, feature in zip((0, 2), truth, strict=True):
        tokens, pooled, sampled, drawn = (
            np.concatenate([shard[f"{kind}.{layer:02d}"] for shard in shards])
            for kind in ("tokens", "pooled", "sampled", "drawn")
        )
        np.testing.assert_allclose(tokens, feature.numpy(), atol=1e-6)
        np.testing.assert_allclose(pooled, feature.numpy().mean(1), atol=1e-6)
        np.testing.assert_array_equal(sampled, np.take_along_axis(tokens, drawn[:, :, None].astype(np.int64), 1))
        assert all(len(set(row)) == 3 for row in drawn.tolist())


def test_drawn_tokens_depend_on_image_and_seed_and_cover_all() -> None:
    drawn = torch.stack([draw_tokens(17, 4, 0, image) for image in range(400)])
    assert torch.equal(drawn[7], draw_tokens(17, 4, 0, 7))
    assert not torch.equal(drawn[7], draw_tokens(17, 4, 1, 7))
    counts = torch.bincount(drawn.flatten(), minlength=17)
    assert int(counts.min()) > 60
    assert int(counts.max()) < 130


def test_bytes_per_image_is_what_shards_take(loop: tuple[Backbone, list[Path]]) -> None:
    for tokens in (TokenChoice(True), TokenChoice(False), TokenChoice(False, 5)):
        shards = run_loop(*loop, 8, tokens=tokens)
        taken = sum(array.nbytes for shard in shards for array in shard.values())
        expected = bytes_per_image([24, 24], [loop[0].tokens] * 2, tokens, "float16") * len(loop[1])
        assert taken <= expected <= taken * 1.5


@pytest.mark.parametrize(
    ("value", "told"),
    [(1e6, "layer 1 of m reaches .*over the largest float16"), (float("nan"), "layer 1 of m gives NaN")],
)
def test_features_that_float16_cannot_hold_are_refused(
    loop: tuple[Backbone, list[Path]], value: float, told: str
) -> None:
    backbone, paths = loop
    with torch.no_grad():
        backbone.blocks[1].attn.proj.bias.fill_(value)
    with pytest.raises(DataError, match=told):
        list(extract_shards(backbone, paths, [(0, 0, 3)], [0, 1]))
    if np.isfinite(value):
        stored = next(iter(extract_shards(backbone, paths, [(0, 0, 3)], [0, 1], dtype="float32")))[1]
        assert stored["attn"]["tokens.01"].max() > 9e5


def test_out_of_memory_halves_the_batch_and_says_so(loop: tuple[Backbone, list[Path]]) -> None:
    backbone, paths = loop
    said: list[str] = []

    def forward(images: torch.Tensor) -> object:
        if len(images) > 2:
            raise RuntimeError("CUDA out of memory")
        return backbone.forward(images)

    small = replace(backbone, forward=forward)
    found = run_loop(small, paths, 8, say=said.append)
    assert said == ["out of memory: going on with batch size 4", "out of memory: going on with batch size 2"]
    assert all(np.array_equal(a[n], b[n]) for a, b in zip(found, run_loop(backbone, paths, 8), strict=True) for n in a)


def test_a_manifest_s_images_come_out_upright_in_the_loop(tmp_path: Path) -> None:
    turned = Image.new("RGB", (40, 20), "red")
    turned.paste("blue", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    manifest, bad = read_manifest([tmp_path / "turned.jpg"], lambda _: None, 1, lambda _: None)
    assert not bad
    assert (manifest.images[0].width, manifest.images[0].height) == (20, 40)
    pixels = np.asarray(decode(tmp_path / "turned.jpg", 16))
    assert pixels.shape[0] > pixels.shape[1]
    assert pixels[2, 2, 2] > 200
    assert pixels[-3, 2, 0] > 200


# what options mean


@pytest.mark.parametrize(
    ("text", "layers"),
    [("all", [0, 1, 2, 3]), ("0", [0]), ("2,0", [0, 2]), ("0-2", [0, 1, 2]), ("1,1-2, 3", [1, 2, 3])],
)
def test_layers(text: str, layers: list[int]) -> None:
    assert parse_layers(text, 4) == layers


@pytest.mark.parametrize("text", ["", "4", "-1", "1-", "3-1", "a", "0,,1", "0-9"])
def test_layers_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--layers"):
        parse_layers(text, 4)


def test_tokens_and_batches() -> None:
    assert parse_tokens("all", 10) == TokenChoice(True)
    assert parse_tokens("pooled", 10) == TokenChoice(False)
    assert parse_tokens("sample:10", 10) == TokenChoice(False, 10)
    assert batch_size_for("auto", CPU) == 16
    assert batch_size_for("3", CPU) == 3
    for text in ("sample:11", "sample:0", "sample:", "some", "sample:-1"):
        with pytest.raises(UsageError, match="--tokens"):
            parse_tokens(text, 10)
    for text in ("0", "-1", "x"):
        with pytest.raises(UsageError, match="--batch-size"):
            batch_size_for(text, CPU)
