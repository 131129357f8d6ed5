"""Every ViT-like family of timm at tiny size, over all taps: read right, or refused with exit 69 and the reason."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from alignedcut_cli.backbones.load import Backbone, build_backbone
from alignedcut_cli.backbones.registry import TIMM_MODULES, ModelId
from alignedcut_cli.backbones.taps import TAPS
from alignedcut_cli.backbones.zoo import list_models
from alignedcut_cli.errors import DataError, UnavailableError
from tests.conftest import Cli
from tests.helpers.vits import pictures, randomised, timm_folder

SHAPE = {"embed_dim": 32, "depth": 2, "num_heads": 2}
PATCHES = {"img_size": 32, "patch_size": 8}
SMALL = {**PATCHES, **SHAPE}
SCALED = {**SMALL, "init_values": 0.3}
WINDOWS = {**SCALED, "img_size": 40, "window_size": 2, "global_attn_indexes": [1], "use_rel_pos": True}
CONVOLUTIONAL_STEMS = ("ConvPatchEmbed", "HybridEmbed")
PARALLEL = {"q", "k", "v"}
FUSED = {"attn", "mlp"}

READ: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "plain": ("vit_tiny_patch16_224", SMALL, set()),
    "siglip": ("vit_base_patch16_siglip_224", SMALL, set()),
    "aimv2": ("aimv2_large_patch14_224", SMALL, set()),
    "beit3": ("beit3_base_patch16_224", SMALL, set()),
    "flexivit": ("flexivit_small", SMALL, set()),
    "dinov2": ("vit_small_patch14_reg4_dinov2", SCALED, set()),
    "post-norm": ("vit_base_patch16_rpn_224", SCALED, set()),
    "differential attention": ("vit_dwee_patch16_reg1_gap_256", SCALED, set()),
    "parallel things": ("vit_small_patch16_18x2_224", SCALED, PARALLEL),
    "parallel scaling": ("vit_base_patch16_xp_224", SCALED, set()),
    "parallel scaling, qkv bias": ("vit_pwee_patch16_reg1_gap_256", SCALED, set()),
    "differential parallel": ("vit_dpwee_patch16_reg1_gap_256", SCALED, FUSED),
    "distilled": ("deit_tiny_distilled_patch16_224", SMALL, set()),
    "deit3": ("deit3_small_patch16_224", SCALED, set()),
    "beit": ("beit_base_patch16_224", SCALED, set()),
    "beitv2": ("beitv2_base_patch16_224", SMALL, set()),
    "eva": ("eva_giant_patch14_224", SMALL, set()),
    "eva02": ("eva02_tiny_patch14_224", SMALL, set()),
    "eva02, separate q, k, v": ("eva02_base_patch14_224", SMALL, set()),
    "eva post-norm": ("eva02_tiny_patch14_224", {**SMALL, "use_post_norm": True}, set()),
    "pe": ("vit_pe_core_tiny_patch16_384", SMALL, set()),
    "dinov3": ("vit_small_patch16_dinov3", SMALL, set()),
    "dinov3, qkv bias": ("vit_small_patch16_dinov3_qkvb", SMALL, set()),
    "rope mixed": ("vit_small_patch16_rope_mixed_224", SMALL, set()),
    "cait": ("cait_xxs24_224", SCALED, set()),
    "xcit": ("xcit_nano_12_p16_224", SMALL, set()),
    "convit": ("convit_tiny", {**SMALL, "embed_dim": 8, "num_heads": 4, "local_up_to_layer": 1}, set()),
    "tnt": ("tnt_s_patch16_224", {**PATCHES, "embed_dim": 32, "depth": 2, "inner_dim": 8, "num_heads_outer": 2}, set()),
    "relpos": ("vit_relpos_small_patch16_224", SCALED, set()),
    "relpos, class token": ("vit_relpos_base_patch16_clsgap_224", SCALED, set()),
    "relpos, post-norm": ("vit_relpos_small_patch16_rpn_224", SCALED, set()),
    "sam": ("samvit_base_patch16", WINDOWS, set()),
    "sam, rotary": ("samvit_base_patch16", {**WINDOWS, "use_rel_pos": False, "use_rope": True}, set()),
    "naflex": ("naflexvit_base_patch16_gap", {**SHAPE, "patch_size": 8}, set()),
    "naflex, siglip": ("naflexvit_base_patch16_siglip", {**SHAPE, "patch_size": 8}, set()),
    "naflex, rotary": ("naflexvit_base_patch16_map", {**SHAPE, "patch_size": 8, "rope_type": "axial"}, set()),
    "hybrid": ("vit_tiny_r_s16_p8_224", {**SHAPE, "img_size": 64, "patch_size": 1}, set()),
    "vitamin": ("vitamin_small_224", {"depth": 2, "num_heads": 2, "img_size": 32}, set()),
    "gemma4": (
        "gemma4_vit_167m",
        {**SMALL, "head_dim": 16, "intermediate_size": 48, "position_embedding_size": 64},
        set(),
    ),
    "deepseek": ("deepseek_vit_412m", SMALL, set()),
    "qwen3": ("qwen3_vit_88m", SMALL, set()),
}
Family = tuple[Backbone, set[str]]
IN_THIS_TIMM = {name: read for name, read in READ.items() if timm.is_model(read[0])}


@pytest.fixture(scope="module", params=IN_THIS_TIMM)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A tiny model of the family, and the taps that it does not have."""
    architecture, arguments, missing = IN_THIS_TIMM[request.param]
    folder = tmp_path_factory.mktemp("model") / "m"
    torch.manual_seed(0)
    return randomised(build_backbone(timm_folder(folder, architecture, **arguments), None)), missing


def entering(backbone: Backbone, modules: Sequence[nn.Module], images: Tensor) -> list[Tensor]:
    """What enters each of the modules in one forward pass: (B, tokens, D), without registers."""
    entered: dict[int, Tensor] = {}

    def keep(place: int, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entered.setdefault(place, inputs[0])

    hooks = [module.register_forward_pre_hook(partial(keep, place)) for place, module in enumerate(modules)]
    backbone.forward(images)
    for hook in hooks:
        hook.remove()
    return [kept(backbone, entered[place]) for place in range(len(modules))]


def kept(backbone: Backbone, tokens: Tensor) -> Tensor:
    """Of all tokens of a block, the class token that every block has and the patches."""
    tokens = tokens.flatten(1, 2) if tokens.ndim == 4 else tokens
    patches = tokens[:, -backbone.grid[0] * backbone.grid[1] :]
    return torch.cat([tokens[:, :1], patches], 1) if backbone.class_token else patches


def stations(block: Any) -> list[nn.Module]:
    """The modules that the residual stream enters before attention, after it, and before the MLP."""
    if hasattr(block, "attns"):
        return [block.attns[0], block.ffns[0], block.ffns[0]]
    if hasattr(block, "in_proj"):
        return [block.in_norm]
    if type(block).__name__ in ("ResPostBlock", "ResPostRelPosBlock", "EvaBlockPostNorm"):
        return [block.attn, block.mlp, block.mlp]
    if hasattr(block, "attn_out"):
        return [block.norm_out, block.norm_mlp, block.norm_mlp]
    return [block.norm1, getattr(block, "norm3", block.norm2), block.norm3 if hasattr(block, "norm4") else block.norm2]


@torch.inference_mode()
def test_every_tap_is_read_or_refused(family: Family) -> None:
    backbone, missing = family
    images = pictures(2, backbone.preprocess.size)
    for tap in TAPS:
        if tap in missing:
            with pytest.raises(UnavailableError, match=rf"has no tap '{tap}': (its|it has) ") as caught:
                backbone.widths([0, 1], tap)
            assert caught.value.exit_status == 69
            continue
        layers = backbone.features(images, [0, 1], tap)
        assert backbone.widths([0, 1], tap) == [layer.shape[2] for layer in layers]
        assert all(layer.shape[:2] == (2, backbone.tokens) and float(layer.std()) > 1e-3 for layer in layers)
        assert torch.equal(backbone.features(images, [0], tap)[0], layers[0])


@torch.inference_mode()
def test_attention_and_mlp_are_what_the_block_adds(family: Family) -> None:
    """Against the differences of the residual stream where it enters the block's own modules."""
    backbone, missing = family
    if "attn" in missing:
        return
    images = pictures(2, backbone.preprocess.size)
    taps = {tap: backbone.features(images, [0, 1], tap) for tap in ("attn", "mlp", "block")}
    for layer, block in enumerate(backbone.blocks):
        attn, mlp, end = (taps[tap][layer] for tap in ("attn", "mlp", "block"))
        start, *later = entering(backbone, stations(block), images)
        if later:
            torch.testing.assert_close(attn, later[0] - start, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(mlp, end - later[1], atol=1e-4, rtol=1e-4)
        else:
            torch.testing.assert_close(attn + mlp, end - start, atol=1e-4, rtol=1e-4)
            hidden = entering(backbone, [block.mlp_out_proj], images)[0]
            torch.testing.assert_close(mlp, block.ls(block.mlp_out_proj(hidden)), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_queries_keys_and_values_are_the_weights_times_the_input(family: Family) -> None:
    backbone, missing = family
    if "q" in missing:
        return
    images = pictures(2, backbone.preprocess.size)
    for part, tap in enumerate("qkv"):
        for layer, found in enumerate(backbone.features(images, [0, 1], tap)):
            block = backbone.blocks[layer]
            first: Any = stations(block)[0]
            start = entering(backbone, [first], images)[0]
            weight, bias = projection(block, part)
            wanted = functional.linear(start if hasattr(first, "num_heads") else first(start), weight, bias)
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def projection(block: Any, part: int) -> tuple[Tensor, Tensor | None]:
    """The weight and bias of q, k or v, cut from what the block holds."""
    attention = block.attn_out if hasattr(block, "attn_out") else getattr(block, "attn", block)
    if hasattr(attention, "in_proj"):
        linear, sizes = attention.in_proj, attention.in_split[1:]
    elif getattr(attention, "qkv", None) is not None:
        linear, sizes = attention.qkv, [len(attention.qkv.weight) // 3] * 3
    elif hasattr(attention, "qk"):
        linear, sizes = (attention.qk, attention.qk, attention.v)[part], [len(attention.v.weight)] * 3
        part, sizes = (part, sizes[:2]) if part < 2 else (0, sizes[:1])
    else:
        linear = (attention.q_proj, attention.k_proj, attention.v_proj)[part]
        linear = getattr(linear, "linear", linear)
        return linear.weight, linear.bias
    bias = linear.bias
    if getattr(attention, "q_bias", None) is not None:
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    ends = slice(-sum(sizes), None)
    return linear.weight[ends].split(sizes)[part], None if bias is None else bias[ends].split(sizes)[part]


@torch.inference_mode()
def test_tokens_lie_in_rows_and_timm_s_features_are_the_block_tap(family: Family) -> None:
    backbone, _ = family
    rows, columns = backbone.grid
    images = pictures(1, backbone.preprocess.size).repeat(2, 1, 1, 1)
    step = backbone.preprocess.size // rows
    images[1, :, -step:, :step] *= -3
    (tokens,) = entering(backbone, stations(backbone.blocks[0])[:1], images)
    changed = int((tokens[0] - tokens[1]).norm(dim=1).argmax()) - backbone.class_token
    reach = any(type(part).__name__ in CONVOLUTIONAL_STEMS for part in backbone.module.modules())
    assert rows - 1 - changed // columns <= reach
    assert changed % columns <= reach
    tower: Any = backbone.module
    assert [info["module"].rpartition("blocks.")[2] for info in tower.feature_info] == ["0", "1"]
    theirs = tower.forward_intermediates(images, norm=False, output_fmt="NCHW", intermediates_only=True)
    for ours, wanted in zip(backbone.features(images, [0, 1], "block"), theirs, strict=True):
        patches = wanted.flatten(2).mT
        torch.testing.assert_close(ours[:, -rows * columns :], patches)


def test_its_own_weights_fit(family: Family) -> None:
    backbone, _ = family
    own = backbone.module.state_dict()
    adapted = backbone.adapt(dict(own))
    assert {key: value.shape for key, value in adapted.items()} == {key: value.shape for key, value in own.items()}


SIZES = r"test_|nano|pico|atto|xxs|tiny|small|_b0|_m0|_l1|_s0|_s1|_s$|_s_"


def test_every_module_that_is_listed_has_a_family_here() -> None:
    walked = {timm.models.model_entrypoint(name).__module__.rpartition(".")[2] for name, _, _ in IN_THIS_TIMM.values()}
    assert walked == set(TIMM_MODULES) & set(timm.list_modules())
    listed = {row["name"] for row in list_models() if row["source"] == "timm" and "tokens" in row["taps"]}
    assert {
        "xcit_nano_12_p16_224.fb_in1k",
        "samvit_base_patch16.sa1b",
        "vit_base_patch16_rope_224.naver_in1k",
    } <= listed
    assert not any("swin" in name for name in listed)


def refused_models() -> list[str]:
    """A small model of each other module of timm that knows heads, and two whose blocks do not attend."""
    found = ["convmixer_768_32", "gmlp_s16_224"]
    for module in sorted(set(timm.list_modules()) - set(TIMM_MODULES)):
        source = Path(sys.modules[f"timm.models.{module}"].__file__ or "").read_text(encoding="utf-8")
        if "num_heads" in source:
            names = timm.list_models(module=module)
            found.append(min(names, key=lambda name: (not re.search(SIZES, name), len(name), name)))
    return found


def test_what_has_no_blocks_on_one_grid_is_refused_with_its_reason() -> None:
    told: dict[str, str] = {}
    for name in refused_models():
        with torch.device("meta"), pytest.raises(UnavailableError, match="is no vision transformer") as caught:
            build_backbone(ModelId(name, "timm", name), None)
        assert caught.value.exit_status == 69
        told[name] = str(caught.value)
    assert len(told) > 25
    assert (
        "(SwinTransformer) is no vision transformer on one grid of patches: it has strides of 4, 8, 16, 32 px"
        in str(told)
    )
    assert "(CrossVit) is no vision transformer on one grid of patches: it has strides of 12, 17 px" in str(told)
    assert "(MlpMixer) is no vision transformer: its blocks have no attention" in str(told)


def test_extract_reads_xcit_and_refuses_swin_and_a_shared_projection(cli: Cli, photos: Path, tmp_path: Path) -> None:
    from timm.models import save_for_hf

    arguments = {**SMALL, "num_classes": 5}
    xcit = timm.create_model("xcit_nano_12_p16_224", **arguments)
    save_for_hf(xcit, tmp_path / "xcit", model_args=arguments, safe_serialization=True)
    run = cli("extract", photos, "-m", f"local-dir:{tmp_path / 'xcit'}", "-p", tmp_path / "study", "--json")
    assert run.status == 0, run.err
    shard = load_file(next((tmp_path / "study" / "features" / "xcit").glob("*.safetensors")))
    assert shard["tokens.01"].shape == (20, 16, 32)
    swin = cli("extract", photos, "-m", "swin_tiny_patch4_window7_224", "-p", tmp_path / "study")
    assert swin.status == 69
    assert "is no vision transformer on one grid of patches: it has strides of 4, 8, 16, 32 px" in swin.err
    shared = timm_folder(tmp_path / "shared", "vit_dpwee_patch16_reg1_gap_256", **SMALL)
    (tmp_path / "shared" / "model.safetensors").write_bytes(b"")
    fused = cli("extract", photos, "-m", f"local-dir:{shared.target}", "-p", tmp_path / "study")
    assert fused.status == 69
    assert "has no tap 'attn': its attention and MLP share one output projection" in fused.err


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"architecture": "no_such_vit"}, "Unknown model"),
        (
            {"architecture": "test_vit", "pretrained_cfg": {}, "model_args": {"colour": 1}},
            "unexpected keyword argument 'colour'",
        ),
        ({"model_args": {}}, "architecture"),
    ],
)
def test_a_folder_that_timm_cannot_build_is_refused(config: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=rf"timm cannot build m: .*{reason}"):
        build_backbone(ModelId("m", "local", str(tmp_path)), None)


def test_an_image_that_the_forward_pass_refuses_exits_69(tmp_path: Path) -> None:
    arguments = {**SMALL, "head_dim": 16, "intermediate_size": 48, "position_embedding_size": 64, "global_pool": "soft"}
    model = timm_folder(tmp_path / "m", "gemma4_vit_167m_enc", **arguments)
    with pytest.raises(UnavailableError, match=r"m fails on an image of 32 px .*must be divisible") as caught:
        build_backbone(model, None).widths([0], "attn")
    assert caught.value.exit_status == 69
