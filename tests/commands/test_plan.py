"""`alignedcut plan`: what it counts is what the commands say that they need, and what it measures is positive."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alignedcut_cli.backbones.load import build_backbone
from alignedcut_cli.backbones.registry import parse_model
from alignedcut_cli.commands.plan import rates as measured
from alignedcut_cli.commands.plan.rates import Rates
from alignedcut_cli.commands.plan.shapes import Extraction, Shape
from alignedcut_cli.commands.plan.steps import Limit, Machines, Step, Study, limits_of, steps_of
from alignedcut_cli.core.graph import lowrank
from alignedcut_cli.datasets.samples import sample_data
from alignedcut_cli.frame.config import parse_layers
from tests.conftest import Cli
from tests.frame.test_command_line import require_error

RATES = Rates(3.0, 1e5, 2e5, 9.0, 5e4, 1e9, 5e8, "float32")
ONE = Machines(1, 24 << 30, 70 << 30, 1e9, 5e8)
VIT = Shape("vit", (197,) * 12, (768,) * 12, 12 * (197 * 768 * 2 + 768 * 4), 17.5e9)
MODELS = ["tiny-clip", "tiny-dino"]


@pytest.fixture
def rated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are given, not measured."""
    monkeypatch.setattr(measured, "measure", lambda *_: RATES)
    monkeypatch.setattr(measured, "images_per_second", lambda *_: 10.0)


def study_of(images: int, models: int = 3, channels: int | None = 768) -> Study:
    return Study(images, [VIT] * models, channels, 20, 10_000)


def named(steps: list[Step], name: str) -> Step:
    return next(step for step in steps if step.name == name)


def test_what_is_counted_is_what_extract_and_cut_say(rated: None, cli: Cli, tmp_path: Path) -> None:
    """Bytes of the features and of the cut as of --dry-run; the sums over models as of one set each."""
    scenes, images = tmp_path / "scenes", 6
    scenes.mkdir()
    for path in sorted((sample_data() / "scenes" / "images").iterdir())[:images]:
        shutil.copy(path, scenes)
    place = ("-p", tmp_path / "study", "-q", "--json")
    options = [word for model in MODELS for word in ("-m", model)]
    dry = json.loads(cli("extract", scenes, *options, "--dry-run", *place).out)
    assert cli("extract", scenes, "-m", "tiny-clip", *place).status == 0
    cut = json.loads(cli("cut", "--from", "tiny-clip", "--dry-run", *place).out)
    run = cli("plan", "--images", images, *options, "-p", tmp_path, "-q", "--json", "--nodes", 200)
    assert run.status == 0, run.err
    found = json.loads(run.out)
    written = [step["written"] for step in found["steps"]]
    assert written[:2] == [output["bytes"] for output in dry["outputs"]]
    alone = json.loads(
        cli("plan", "--images", images, "-m", "tiny-clip", "-p", tmp_path, "-q", "--json", "--nodes", 200).out
    )
    by_name = {step["step"]: step for step in alone["steps"]}
    assert by_name["cut"]["written"] == cut["outputs"][0]["bytes"]
    assert by_name["cut"]["read"] == dry["outputs"][0]["bytes"]
    assert alone["channels"] is None and found["channels"] == 128


def test_rates_are_measured_and_nothing_is_left_on_the_disk(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On less than outside of tests: the numbers are rough, but each is of this machine."""
    monkeypatch.setattr(measured, "STREAMED", 4096)
    monkeypatch.setattr(measured, "DISK_BYTES", 32 << 20)
    monkeypatch.setattr(measured, "pilot_nodes", lambda *_: 2048)
    monkeypatch.setattr(lowrank, "PILOT", 2048)
    place = ("-p", tmp_path / "studies" / "later")
    run = cli("plan", "--images", "9", "-m", "tiny-clip", *place, "-q", "--json", "--nodes", 200)
    assert run.status == 0, run.err
    rates = json.loads(run.out)["rates"]
    assert rates.pop("precision") in ("float32", "bfloat16", "int8")
    assert rates.pop("images")["tiny-clip"] > 0
    assert rates.pop("shared_disk")["free"] > 0
    assert all(value > 0 for value in rates.values())
    assert not list(tmp_path.iterdir())


def test_operations_are_those_of_the_equations() -> None:
    """Of a graph so large that the pilot hardly counts: 2 E (m + 256) + 2 m p + 4 p^2 + 2 D E a node."""
    cut = named(steps_of(study_of(1_000_000), RATES, [10.0] * 3, ONE), "cut")
    landmarks, columns, rows = 512, 48, 256
    per_node = 2 * 768 * (landmarks + rows) + 2 * landmarks * columns + 4 * columns**2 + 2 * 768 * 768
    assert cut.operations == pytest.approx(1_000_000 * 36 * 197 * per_node, rel=1e-3)


@pytest.mark.parametrize("model", ["tiny-clip", "tiny-dino", "vit_tiny_patch16_224"])
@pytest.mark.parametrize(("tap", "layers"), [("attn", "all"), ("block", "all"), ("q", "all"), ("mlp", "0,3")])
def test_a_forward_pass_is_counted_as_torch_counts_it(rated: None, model: str, tap: str, layers: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    extraction = Extraction(tap, layers, None, "all", "float16", None, torch.device("cpu"))
    shape, _ = extraction.measured(model, Path())
    backbone = build_backbone(parse_model(model), None, 0)
    size, chosen = backbone.preprocess.size, parse_layers(layers, len(backbone.blocks))
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        backbone.features(torch.zeros(1, 3, size, size), chosen, tap)
    assert shape.operations == pytest.approx(counted.get_total_flops(), rel=0.02)


def test_machines_share_what_can_be_shared() -> None:
    many = replace(ONE, count=16, read=16e9, written=8e9)
    one, sixteen = (steps_of(study_of(100_000), RATES, [10.0] * 3, where) for where in (ONE, many))
    assert named(sixteen, "extract vit").compute == pytest.approx(named(one, "extract vit").compute / 16)
    pass_alone, pass_shared = (named(steps, "cut").compute - RATES.pilot for steps in (one, sixteen))
    assert pass_shared == pytest.approx(pass_alone / 16)
    assert named(sixteen, "cut").memory < named(one, "cut").memory / 100
    assert named(sixteen, "cut").read > named(one, "cut").read, "what the pass keeps goes through the disk"


def test_a_slow_disk_bounds_what_reads_much() -> None:
    slow = replace(ONE, count=64, read=1e8, written=1e8)
    cut = named(steps_of(study_of(100_000), RATES, [10.0] * 3, slow), "cut")
    assert cut.bound == "disk" and cut.seconds == pytest.approx((cut.read + cut.written) / 1e8)


def test_what_breaks_first_is_first_and_larger_memory_moves_it() -> None:
    def memory(where: Machines) -> Limit:
        found = limits_of(study_of(1000), steps_of(study_of(1000), RATES, [10.0] * 3, where), where)
        assert [one.nodes for one in found] == sorted(one.nodes for one in found)
        return next(one for one in found if one.what.startswith("cut holds"))

    small, large = memory(ONE), memory(replace(ONE, memory=48 << 30))
    assert large.nodes == pytest.approx(2 * small.nodes, rel=0.02)
    shared = replace(ONE, count=2)
    found = limits_of(study_of(1000), steps_of(study_of(1000), RATES, [10.0] * 3, shared), shared)
    assert not any("holds" in one.what for one in found)


def test_the_verdict_names_what_breaks_first(rated: None, cli: Cli, tmp_path: Path) -> None:
    run = cli("plan", "--images", "1e7", "-m", "tiny-clip", "-p", tmp_path, "--nodes", 200)
    assert run.status == 0, run.err
    lines = run.out.splitlines()
    assert lines[0].startswith("10,000,000 images, 870 nodes each: 8,700,000,000 nodes, as they are stored")
    assert lines[-1].startswith("breaks first here: ")
    assert lines[-1].removeprefix("breaks first here: ") in next(
        line for line in lines if line[:1].isdigit() and "e+" in line[:8]
    )
    few = cli("plan", "--images", "10", "-m", "tiny-clip", "-p", tmp_path, "--nodes", 200)
    assert few.out.splitlines()[-1] == "nothing breaks here"


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (("--images", "0"), 2, "bad-images"),
        (("--images", "1.5"), 2, "bad-images"),
        (("--images", "nan"), 2, "bad-images"),
        (("--images", "9", "--disk-rate", "0"), 2, "bad-rate"),
        (("--images", "9", "--tokens", "pooled"), 2, "tokens-missing"),
        (("--images", "9", "--tokens", "some"), 2, "bad-tokens"),
        (("--images", "9", "--layers", "99"), 2, "bad-layers"),
    ],
)
def test_what_cannot_be_planned_is_said(
    rated: None, cli: Cli, tmp_path: Path, options: tuple[str, ...], status: int, code: str
) -> None:
    run = cli("plan", "-m", "tiny-clip", "-p", tmp_path, "-q", *options)
    require_error(run.err, status, code, "plan")
    assert not run.out
