"""extract --tap maps: what is kept is true of the maps, within any memory, after any interruption, by the same count."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import alignedcut_cli.commands.extract.map_layout as map_layout
import alignedcut_cli.commands.extract.map_passes as map_passes
import alignedcut_cli.commands.extract.map_run as map_run
import alignedcut_cli.commands.extract.map_whole as map_whole
from alignedcut_cli.backbones.modules import read_outputs, survey_outputs
from alignedcut_cli.backbones.network import build_network
from alignedcut_cli.backbones.registry import parse_model
from alignedcut_cli.commands.extract.map_read import Reader
from alignedcut_cli.datasets.images import decode
from alignedcut_cli.errors import Stopped
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.maps import MapSet, read_maps
from tests.conftest import Cli
from tests.helpers.vits import local_model

MODEL = ("--weights", "random", "--tap", "maps", "-q")


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small vision transformer whose weights are random: 32 px, 3 blocks of 24 channels."""
    folder = tmp_path_factory.mktemp("vit") / "small-vit"
    local_model(folder, "vit_tiny_patch16_224")
    return f"local-dir:{folder}"


def maps_of(project: Path, name: str) -> MapSet:
    return read_maps(FeatureSet(project / "features" / name))


def files(project: Path, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((project / "features" / name).iterdir())}


@pytest.fixture
def frugal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process holds already counts for nothing, so that small limits of memory mean something."""
    monkeypatch.setattr(map_layout, "resident_memory", lambda: 0)


@pytest.fixture
def to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows go to disk even where the memory could hold them."""
    monkeypatch.setitem(map_layout._BYTE, "cpu", -1)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without space for rows."""
    monkeypatch.setattr(map_layout, "free_disk", lambda _: 0)


def test_what_is_kept_is_true_of_the_maps(cli: Cli, photos: Path, vit: str, tmp_path: Path) -> None:
    ran = cli("extract", photos, "-m", vit, *MODEL, "--keep", "raw", "--name", "m", "-p", tmp_path)
    assert ran.status == 0, ran.err
    there = maps_of(tmp_path, "m")
    network = build_network(parse_model(vit), None, 0)
    size = network.preprocess.size
    paths = sorted((path for path in photos.rglob("*.png")), key=lambda path: path.relative_to(photos).parts)
    assert [Path(image["path"]).name for image in there.images] == [path.name for path in paths]
    pixels = np.stack([network.preprocess.resize(decode(path, size)) for path in paths])
    images = network.preprocess.normalise(pixels, torch.device("cpu"))
    outputs = survey_outputs(network, images).outputs
    rows: dict[str, np.ndarray] = {}
    read_outputs(network, images, outputs, lambda one, found: rows.__setitem__(one.name, found.double().numpy()))
    assert [one.name for one in there.maps] == list(rows)
    for one in there.maps:
        wanted = rows[one.name]
        assert (one.units, one.kind != "") == (wanted.shape[1], True)
        np.testing.assert_allclose(there.raw(one.number), wanted, rtol=1e-3, atol=1e-5)
        scale = float(np.square(wanted).sum(1).mean())
        assert abs(there.gram(one.number) - wanted @ wanted.T).max() < 1e-5 * scale
        np.testing.assert_allclose(there.sums(one.number), wanted.sum(1), atol=1e-4 * np.sqrt(scale * one.units))
        assert (there.gram(one.number) == there.gram(one.number).T).all()
    twins = {name for one in there.maps for name in one.duplicates}
    assert twins == {one.name for one in outputs if one.same_as}
    assert "blocks.0.drop_path1" in twins and "blocks.2" not in twins


def test_maps_larger_than_their_projection_are_projected(cli: Cli, photos: Path, tmp_path: Path) -> None:
    argv = ("extract", photos, "-m", "convnext_atto", "--image-size", 64, *MODEL, "--modules", "stem*", "-p", tmp_path)
    assert cli(*argv, "--keep", "raw").status == 0
    there = maps_of(tmp_path, "convnext_atto-maps")
    first = there.maps[0]
    assert (first.name, first.units, first.projected) == ("stem.0", 40 * 16 * 16, 2567)
    rows, matrix = there.raw(0).astype(np.float64), there.matrix(0).astype(np.float64)
    assert matrix.shape == (20, 2567)
    np.testing.assert_allclose(there.gram(0), rows @ rows.T, rtol=1e-5)
    ratio = (matrix @ matrix.T).diagonal() / there.gram(0).diagonal()
    assert abs(ratio - 1).max() < 0.1


def test_any_memory_and_disk_give_the_same_bytes(
    cli: Cli, photos: Path, vit: str, tmp_path: Path, frugal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ("extract", photos, "-m", vit, *MODEL, "--batch-size", 4, "--keep", "raw", "--seed", 1)
    made, ways = (
        {},
        {"ample": ("1GiB", 0), "disk": ("1500KiB", 1 << 40), "some": ("1500KiB", 0), "least": ("800KiB", 0)},
    )
    for name, (memory, disk) in ways.items():
        monkeypatch.setattr(map_layout, "free_disk", lambda _, disk=disk: disk)
        dry = cli(*argv, "--memory", memory, "--name", "m", "-p", tmp_path / name, "--dry-run", "--json")
        counts = {one["what"]: one["count"] for one in dry.object["counts"]}
        assert dry.object["memory"] <= int(float(memory[:-3]) * (1 << (30 if "G" in memory else 10)))
        assert cli(*argv, "--memory", memory, "--name", "m", "-p", tmp_path / name).status == 0
        there = maps_of(tmp_path / name, "m")
        assert (counts["maps"], counts["duplicates"]) == (
            len(there.maps),
            sum(len(one.duplicates) for one in there.maps),
        )
        assert counts["units"] == sum(one.units for one in there.maps)
        assert (counts["bytes of scratch on disk at once"] > 0) == (name == "disk")
        made[name] = counts, files(tmp_path / name, "m")
        size = sum(path.stat().st_size for path in (tmp_path / name / "features" / "m").glob("*.safetensors"))
        assert dry.object["outputs"][0]["bytes"] == pytest.approx(size, rel=0.2)
    ample, least = made["ample"][0], made["least"][0]
    assert made["disk"][0]["images through the network"] < made["some"][0]["images through the network"]
    assert ample["passes"] == made["disk"][0]["passes"] == 1 < made["some"][0]["passes"] < least["passes"]
    between = "floating-point operations between images"
    assert ample[between] == least[between] >= counts["units"] * 20**2
    network = "floating-point operations of the network"
    assert ample[network] == made["disk"][0][network] < made["some"][0][network] < least[network]
    for name in ways:
        assert made[name][1] == made["ample"][1]


def test_too_little_memory_is_said_with_how_much_it_takes(
    cli: Cli, photos: Path, vit: str, tmp_path: Path, frugal: None
) -> None:
    argv = ("extract", photos, "-m", vit, *MODEL, "--memory", "20KiB", "-p", tmp_path)
    ran = cli(*argv)
    assert (ran.status, "[memory-budget, exit 71]" in ran.err) == (71, True)
    assert "--memory allows 20.0 KiB" in ran.err
    assert not (tmp_path / "features").exists() or not list((tmp_path / "features").glob("*"))


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    cli: Cli,
    photos: Path,
    vit: str,
    tmp_path: Path,
    frugal: None,
    full: None,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    argv = (
        "extract",
        photos,
        "-m",
        vit,
        *MODEL,
        "--batch-size",
        4,
        "--memory",
        "1000KiB",
        "--keep",
        "raw",
        "--name",
        "m",
    )
    assert cli(*argv, "-p", tmp_path / "whole").status == 0
    real, count = map_passes._Passes.read_block, iter(range(1000))

    def stopping(*given: Any) -> Any:
        if next(count) == stop:
            raise Stopped(signal.SIGTERM)
        return real(*given)

    monkeypatch.setattr(map_passes._Passes, "read_block", stopping)
    ended = cli(*argv, "-p", tmp_path / "cut")
    assert ended.status == 143, ended.err
    assert "are kept; go on with: alignedcut extract" in ended.err
    assert stop > 1 or ("1 pass over others" in ended.err) == (stop == 1)
    assert not (tmp_path / "cut" / "features" / "m").exists()
    before = sum(1 for _ in count) and 0
    calls: list[int] = []
    monkeypatch.setattr(map_passes._Passes, "read_block", lambda *given: calls.append(before) or real(*given))
    assert cli(*argv, "-p", tmp_path / "cut").status == 0
    assert files(tmp_path / "cut", "m") == files(tmp_path / "whole", "m")
    dry = cli(*argv, "-p", tmp_path / "other", "--dry-run", "--json").object
    passes = next(one["count"] for one in dry["counts"] if one["what"] == "passes")
    assert len(calls) == passes - stop
    assert cli("check", "--deep", "--exit-code", "-p", tmp_path / "cut").status == 0


@pytest.mark.parametrize("stop", [2, "map"])
def test_a_run_stopped_while_rows_lie_on_disk_goes_on_to_the_same_bytes(
    cli: Cli, photos: Path, vit: str, tmp_path: Path, frugal: None, monkeypatch: pytest.MonkeyPatch, stop: int | str
) -> None:
    options = ("--batch-size", 4, "--memory", "1500KiB", "--keep", "raw", "--name", "m")
    argv = ("extract", photos, "-m", vit, *MODEL, *options)
    assert cli(*argv, "-p", tmp_path / "whole").status == 0
    monkeypatch.setattr(map_whole, "_SYNCED", 1)
    reading, writing, batches = Reader.read, map_whole._write_map, iter(range(1000))

    def stopping(self: Reader, *given: Any) -> Any:
        for found in reading(self, *given):
            yield found
            if next(batches) == stop:
                raise Stopped(signal.SIGTERM)

    def stopping_after_maps(reader: Reader, shards: Any, number: int, *given: Any) -> None:
        if stop == "map" and number == 2:
            raise Stopped(signal.SIGTERM)
        writing(reader, shards, number, *given)

    monkeypatch.setattr(Reader, "read", stopping)
    monkeypatch.setattr(map_whole, "_write_map", stopping_after_maps)
    ended = cli(*argv, "-p", tmp_path / "cut")
    assert ended.status == 143, ended.err
    partial = tmp_path / "cut" / "features" / ".m.partial"
    begun = json.loads((partial / "group.json").read_text())
    assert begun["way"] == "disk" and f"and the rows of {begun['begun']} images" in ended.err
    assert (begun["begun"] == 20) == (stop == "map")
    assert stop != "map" or len(list(partial.glob("0*.safetensors"))) == 2
    read: list[int] = []

    def counting(self: Reader, outputs: Any, first: int, *given: Any) -> Any:
        read.append(first)
        return reading(self, outputs, first, *given)

    monkeypatch.setattr(Reader, "read", counting)
    monkeypatch.setattr(map_whole, "_write_map", writing)
    assert cli(*argv, "-p", tmp_path / "cut").status == 0
    assert files(tmp_path / "cut", "m") == files(tmp_path / "whole", "m")
    assert read == ([begun["begun"]] if stop != "map" else [])


@pytest.mark.parametrize("fault", ["short", "batch size"])
def test_rows_on_disk_that_are_of_no_use_are_read_again(
    cli: Cli, photos: Path, vit: str, tmp_path: Path, to_disk: None, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    argv = ("extract", photos, "-m", vit, *MODEL, "--modules", "blocks.?", "--name", "m")

    def stopping(*_: Any) -> None:
        raise Stopped(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(map_whole, "_write_map", stopping)
        size = 4 if fault == "short" else 2
        assert cli(*argv, "--batch-size", size, "-p", tmp_path / "cut").status == 143
    rows = list((tmp_path / "cut" / "features" / ".m.partial").glob("scratch-*.bin"))
    assert rows
    for path in rows:
        path.write_bytes(bytes(path.stat().st_size - (fault == "short")))
    for name in ("cut", "whole"):
        assert cli(*argv, "--batch-size", 4, "-p", tmp_path / name).status == 0
    assert files(tmp_path / "cut", "m") == files(tmp_path / "whole", "m")


def test_standardised_units_are_those_of_the_maps_and_need_all_rows_at_once(
    cli: Cli, photos: Path, vit: str, tmp_path: Path, frugal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = (
        "extract",
        photos,
        "-m",
        vit,
        *MODEL,
        "--modules",
        "blocks.?",
        "--modules",
        "patch_embed*",
        "--batch-size",
        4,
    )
    assert cli(*argv, "--keep", "raw", "--name", "raw", "-p", tmp_path).status == 0
    for name, memory in (("memory", "1GiB"), ("disk", "1500KiB")):
        ran = cli(*argv, "--standardise", "--memory", memory, "--name", "m", "-p", tmp_path / name)
        assert ran.status == 0, ran.err
    assert files(tmp_path / "memory", "m") == files(tmp_path / "disk", "m")
    there, raw = maps_of(tmp_path / "disk", "m"), maps_of(tmp_path, "raw")
    for one in there.maps:
        rows = raw.raw(one.number).astype(np.float64)
        deviation = rows.std(0)
        rows = (rows - rows.mean(0)) / np.where(deviation > 1e-5, deviation, np.inf)
        np.testing.assert_allclose(there.gram(one.number), rows @ rows.T, rtol=1e-3, atol=1e-3 * one.units)
    monkeypatch.setattr(map_layout, "free_disk", lambda _: 0)
    refused = cli(*argv, "--standardise", "--memory", "400KiB", "--name", "n", "-p", tmp_path)
    assert (refused.status, "[memory-budget, exit 71]" in refused.err) == (71, True), refused.err


def test_outputs_that_turn_out_to_differ_are_kept_as_well(
    cli: Cli, photos: Path, vit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if all outputs of one width had been alike on the first images."""
    real = map_run.lay_out

    def too_few(plan: Any, network: Any, pixels: Any, distinct: Any) -> Any:
        from dataclasses import replace

        found = real(plan, network, pixels, distinct)
        norms = [one for one in found.outputs if one.name in ("blocks.0.norm1", "blocks.0.norm2")]
        if norms[1].name in distinct:
            return found
        kept = tuple(one for one in found.outputs if one != norms[1])
        return replace(found, outputs=kept, twins=(*found.twins, replace(norms[1], same_as=norms[0].name)))

    argv = ("extract", photos, "-m", vit, "--weights", "random", "--tap", "maps", "--name", "m")
    assert cli(*argv, "-p", tmp_path / "right").status == 0
    monkeypatch.setattr(map_run, "lay_out", too_few)
    ran = cli(*argv, "-p", tmp_path / "mended")
    assert ran.status == 0
    assert "alike on the first images but not on all, and kept as well: blocks.0.norm2; beginning again" in ran.err
    assert files(tmp_path / "right", "m") == files(tmp_path / "mended", "m")


def test_modules_are_chosen_by_pattern_and_duplicates_on_request(
    cli: Cli, photos: Path, vit: str, tmp_path: Path
) -> None:
    argv = ("extract", photos, "-m", vit, *MODEL, "-p", tmp_path)
    assert cli(*argv, "--modules", "blocks.?", "--modules", "norm", "--name", "few").status == 0
    assert [one.name for one in maps_of(tmp_path, "few").maps] == ["blocks.0", "blocks.1", "blocks.2", "norm"]
    assert cli(*argv, "--modules", "blocks*", "--keep-duplicates", "--name", "all").status == 0
    there = maps_of(tmp_path, "all")
    names = [one.name for one in there.maps]
    assert {"blocks.2", "blocks", "blocks.0.drop_path1"} <= set(names)
    assert all(one.duplicates == () for one in there.maps)
    np.testing.assert_array_equal(there.gram(names.index("blocks")), there.gram(names.index("blocks.2")))
    refused = cli(*argv, "--modules", "layer9", "--name", "none")
    assert (refused.status, "[no-module, exit 2]" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--tap", "maps", "--tokens", "all"), "--tokens cannot go with --tap maps"),
        (("--modules", "x"), "--modules cannot go without --tap maps"),
        (("--memory", "1GiB"), "--memory cannot go without --tap maps"),
        (("--captions-per-image", "2"), "--captions-per-image cannot go without --captions"),
        (("--tap", "maps", "--keep", "all"), "--keep 'all' cannot be"),
        (("--tap", "maps", "--keep", "raw", "--standardise"), "--keep raw cannot go with --standardise"),
        (("--standardise",), "--standardise cannot go without --tap maps"),
        (("--tap", "maps", "--memory", "much"), "--memory 'much' is no size"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    cli: Cli, photos: Path, vit: str, tmp_path: Path, more: tuple[str, ...], told: str
) -> None:
    ran = cli("extract", photos, "-m", vit, "--weights", "random", *more, "-p", tmp_path)
    assert (ran.status, told in ran.err) == (2, True), ran.err


def test_other_commands_say_that_maps_are_not_for_them(cli: Cli, photos: Path, vit: str, tmp_path: Path) -> None:
    assert cli("extract", photos, "-m", vit, *MODEL, "--modules", "norm", "--name", "m", "-p", tmp_path).status == 0
    for argv in (("cut", "--from", "features/m"), ("align", "--brain", photos / "nothing.csv", "--from", "features/m")):
        ran = cli(*argv, "-p", tmp_path)
        assert ran.status in (65, 66), ran.err
        assert "bug" not in ran.err
    shown = cli("show", "features/m", "-p", tmp_path)
    assert shown.status == 0 and "gram.000" in shown.out
    assert cli("status", "--exit-code", "-p", tmp_path).status == 0


def test_torchvision_models_have_no_taps_for_tokens(cli: Cli, photos: Path, tmp_path: Path) -> None:
    ran = cli("extract", photos, "-m", "torchvision:resnet18", "--weights", "random", "-p", tmp_path)
    assert ran.status == 69
    assert "Give --tap maps" in ran.err


def test_weights_that_give_no_numbers_are_refused(cli: Cli, photos: Path, vit: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = build_network(parse_model(vit), None, 0).module.state_dict()
    state["blocks.1.mlp.fc1.bias"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    argv = ("extract", photos, "-m", vit, "--weights", tmp_path / "nan.safetensors", "--tap", "maps", "-q")
    ran = cli(*argv, "-p", tmp_path / "study")
    assert (ran.status, "[feature-not-finite, exit 65]" in ran.err) == (65, True), ran.err
    assert "blocks.1.mlp.fc1" in ran.err
    assert json.loads((tmp_path / "study" / "features" / ".small-vit-maps.partial" / "group.json").read_text())
    shutil.rmtree(tmp_path / "study")
