"""extract --model diffusers: q, k and v of a U-Net's self-attention against diffusers' own pass, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alignedcut_cli.core.numerics import stream
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.features import FeatureSet
from tests.conftest import Cli, Run, photograph
from tests.helpers.unets import GRIDS, LAYERS, PROMPT, SIDE, tiny_pipeline

pytest.importorskip("diffusers", reason="needs the extra `diffusion`")
pytest.importorskip("transformers", reason="needs the extra `diffusion`")

IMAGES, STEP, SEED = 5, 300, 3
TAPS = ("--tap", "q", "--tap", "k", "--tap", "v")
Extract = Callable[..., Run]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pipelines")
    return {name: tiny_pipeline(folder / name, text=name == "text") for name in ("text", "mute")}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(IMAGES):
        photograph(number, 40, 30).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def extract(cli: Cli, pictures: Path, tmp_path: Path) -> Extract:
    def run(pipeline: Path, *words: object, project: str = "study") -> Run:
        given = ("-m", f"diffusers:{pipeline}", "--device", "cpu", "-p", tmp_path / project)
        dtype = () if "maps" in words else ("--dtype", "float32")
        return cli("extract", pictures, *given, *dtype, *words)

    return run


def stored(project: Path, name: str, tensor: str) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(FeatureSet(project / "features" / name).blocks(tensor)))


def by_hand(folder: Path, pictures: Path, prompt: torch.Tensor) -> dict[tuple[str, int], torch.Tensor]:
    """What diffusers' own classes give at the projections of each self-attention, and what comes of them ("out")."""
    import diffusers

    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False).eval()
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae", low_cpu_mem_usage=False).eval()
    schedule = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler")
    found: dict[tuple[str, int], torch.Tensor] = {}
    for number, layer in enumerate(LAYERS):
        attention = unet.get_submodule(f"{layer}.transformer_blocks.0.attn1")
        for name, part in (("q", attention.to_q), ("k", attention.to_k), ("v", attention.to_v), ("out", attention)):
            part.register_forward_hook(
                lambda _module, _inputs, output, key=(name, number): found.__setitem__(key, output)
            )
        found["project", number] = attention.to_out[0]
    images = [Image.open(path).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for path in sorted(pictures.iterdir())]
    pixels = torch.from_numpy(np.stack([np.array(one) for one in images])).permute(0, 3, 1, 2)
    names = [hashlib.sha256(one.contiguous().numpy().tobytes()).hexdigest() for one in pixels]
    seeds = [torch.Generator().manual_seed(stream(SEED, "noise", name)) for name in names]
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=one) for one in seeds])
    with torch.no_grad():
        latents = vae.encode(pixels / 127.5 - 1).latent_dist.mode() * vae.config.scaling_factor
        noisy = schedule.add_noise(latents, noise, torch.tensor([STEP] * IMAGES))
        unet(noisy, STEP, encoder_hidden_states=prompt.expand(IMAGES, -1, -1))
    return found


def empty_prompt(folder: Path) -> torch.Tensor:
    """The text encoder of these four words: it begins, ends, and is filled up with ends."""
    import transformers

    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    with torch.no_grad():
        return encoder(torch.tensor([[0, 1, 1, 1, 1, 1, 1]])).last_hidden_state


@pytest.mark.parametrize("kind", ["text", "mute"])
def test_taps_are_those_of_the_networks_own_pass_and_can_be_cut(
    extract: Extract, cli: Cli, pipelines: dict[str, Path], pictures: Path, tmp_path: Path, kind: str
) -> None:
    run = extract(pipelines[kind], *TAPS, "--noise-step", STEP, "--seed", SEED, "--batch-size", 2)
    assert run.status == 0, run.err
    assert ("mute has no text encoder: its prompt is zeros" in run.err) is (kind == "mute")
    prompt = empty_prompt(pipelines[kind]) if kind == "text" else torch.zeros(1, 1, PROMPT)
    wanted, study = by_hand(pipelines[kind], pictures, prompt), tmp_path / "study"
    sets = {tap: FeatureSet(study / "features" / f"{kind}-{tap}") for tap in "qkv"}
    for layer, (slot, side) in enumerate(zip(sets["q"].slots, GRIDS, strict=True)):
        given = {tap: stored(study, f"{kind}-{tap}", f"tokens.{layer:02d}") for tap in "qkv"}
        assert slot["grid"] == [side, side] and not slot["class_token"]
        for tap, rows in given.items():
            torch.testing.assert_close(rows, wanted[tap, layer], rtol=1e-4, atol=1e-4)
        q, k, v = (rows.unflatten(2, (slot["heads"], -1)).transpose(1, 2) for rows in given.values())
        heard = (q @ k.transpose(2, 3) * slot["scale"]).softmax(-1) @ v
        with torch.no_grad():
            out = wanted["project", layer](heard.transpose(1, 2).flatten(2))  # type: ignore[operator]
        torch.testing.assert_close(out, wanted["out", layer], rtol=1e-4, atol=1e-4)
    params = sets["v"].header.params
    assert (params["noise_step"], params["seed"]) == (STEP, SEED)
    assert params["prompt"] == ("empty" if kind == "text" else "zeros")
    if kind == "text":
        run = cli("cut", "--graph", "vv", "-C", 4, "--neighbors", 6, "--neighbors-across", 8, "-p", study, "-q")
        assert run.status == 0, run.err
        header, tensors = load_tensors(Path(run.out.splitlines()[0]))
        assert header.axes["S"]["slots"][0]["grid"] == [8, 8] and tensors["eigenvectors"].shape == (IMAGES * 64, 4)


def test_seed_and_step_alone_tell_the_noise(extract: Extract, pipelines: dict[str, Path], tmp_path: Path) -> None:
    def made(project: str, *words: object) -> Any:
        run = extract(pipelines["mute"], "--tap", "k", "--layers", "0,1", *words, project=project)
        assert run.status == 0, run.err
        return FeatureSet(tmp_path / project / "features" / "mute-k").header

    def keys(project: str) -> torch.Tensor:
        return stored(tmp_path / project, "mute-k", "tokens.00")

    first, again = (made(project, "--batch-size", 2) for project in ("first", "again"))
    rows = keys("first")
    assert first.params["noise_step"] == 261
    assert (again.content, again.recipe) == (first.content, first.recipe)
    for project, words in (("seed", ("--seed", 1)), ("step", ("--noise-step", 0))):
        assert made(project, *words).recipe != first.recipe
        assert (keys(project) - rows).abs().max() > 1e-2
    made("some", "--batch-size", 1, "--tokens", "sample:16")
    sampled, drawn, few = (stored(tmp_path / "some", "mute-k", name) for name in ("sampled.00", "drawn.00", "drawn.01"))
    places = drawn.long()[..., None].expand(-1, -1, rows.shape[2])
    torch.testing.assert_close(sampled, rows.gather(1, places), rtol=1e-4, atol=1e-4)
    assert drawn.max() >= 16 and few.max() == 15


def renamed(folder: Path, old: str, new: str) -> None:
    (folder / old).rename(folder / new)


def configured(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


WEIGHTS = "diffusion_pytorch_model"
BROKEN: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no U-Net": (lambda it: shutil.rmtree(it / "unet"), 66, "is no pipeline of diffusers: it holds no unet/config.json"),
    "pickles": (lambda it: renamed(it, f"vae/{WEIGHTS}.safetensors", f"vae/{WEIGHTS}.bin"), 66, "pickles are not read"),
    "another VAE": (lambda it: configured(it, "vae/config.json", _class_name="VQModel"), 69, "is of VQModel, not of a Auto"),
    "no schedule": (
        lambda it: (it / "scheduler" / "scheduler_config.json").write_text("{}"), 65, "it states no beta_schedule",
    ),
    "no JSON": (lambda it: (it / "unet" / "config.json").write_text("{"), 65, "cannot be read as a part of a pipeline"),
    "more inputs": (lambda it: configured(it, "unet/config.json", in_channels=9), 69, "fails on an image of 16 px"),
    "classes": (
        lambda it: configured(it, "unet/config.json", num_class_embeds=3), 69, "takes more than image, step and prompt",
    ),
    "other weights": (
        lambda it: configured(it, "unet/config.json", block_out_channels=[16, 16]), 65, "does not fit its config.json",
    ),
    "missing weights": (
        lambda it: configured(it, "unet/config.json", time_cond_proj_dim=4), 65, "lack 1 tensors (time_embedding.cond_pr",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_folder_that_is_no_whole_pipeline_is_refused(
    extract: Extract, pipelines: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    spoil, status, told = BROKEN[kind]
    folder = Path(shutil.copytree(pipelines["mute"], tmp_path / "spoilt"))
    spoil(folder)
    run = extract(folder, "--tap", "v", "-q")
    assert run.status == status and told in run.err and len(run.err.splitlines()) <= 2, run.err


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ((), 69, "is a U-Net, which is read at q, k and v of its self-attention alone"),
        (("--tap", "v", "--tap", "block"), 69, "is a U-Net, which is read at q, k and v"),
        (("--tap", "maps"), 69, "is a U-Net, which is read at q, k and v"),
        (("--tap", "v", "--noise-step", 1000), 2, "--noise-step 1000 is beyond the schedule of mute"),
        (("--tap", "v", "--image-size", 15), 2, "mute cannot take 15 px: it is no multiple of 2"),
        (("--tap", "v", "--weights", "random"), 2, "--weights random is for other models"),
        (("--tap", "v", "--tokens", "sample:17"), 2, "K from 1 to 16"),
    ],
)
def test_what_a_u_net_cannot_do_is_refused(
    extract: Extract, pipelines: dict[str, Path], words: tuple[object, ...], status: int, told: str
) -> None:
    run = extract(pipelines["mute"], *words, "-q")
    assert run.status == status and told in run.err, run.err


def test_a_missing_package_or_folder_and_an_idle_step_are_told(
    extract: Extract,
    cli: Cli,
    pipelines: dict[str, Path],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = extract(tmp_path / "nowhere", "--tap", "v")
    assert run.status == 66 and "is no folder, nor OWNER/NAME of the hub" in run.err
    run = cli("extract", pictures, "-m", "tiny-clip", "--noise-step", 1, "-p", tmp_path / "study")
    assert run.status == 2 and "--noise-step cannot go without --model diffusers:PATH" in run.err
    monkeypatch.setitem(sys.modules, "diffusers", None)
    run = extract(pipelines["mute"], "--tap", "v")
    assert run.status == 69 and "U-Nets need the package diffusers" in run.err
    assert "pip install 'alignedcut[diffusion]'" in run.err
