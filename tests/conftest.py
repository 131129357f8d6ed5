"""What the tests share: a command line run in this process, tiny photographs, and a tiny random model's weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.datasets.samples import sample_data
from alignedcut_cli.main import main
from sample_data.make.brain import write_brain

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # before torch is loaded, here and in processes of tests
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
TINY = "test_vit"
MOST_WORKERS = 4
LONGEST = ("world", "real", "browser")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the whole suite among processes, one a core, each of which loads torch; what is named runs in this one.

    Where pytest-xdist is installed; a file's tests stay together, as they share what they make. `-n` says otherwise.
    """
    given, asked = config.args_source is pytest.Config.ArgsSource.ARGS, config.option
    if given or asked.keyword or asked.usepdb or asked.capture == "no" or not config.pluginmanager.hasplugin("xdist"):
        return
    if asked.numprocesses is None and not hasattr(config, "workerinput"):
        asked.numprocesses = min(os.cpu_count() or 1, MOST_WORKERS)
        asked.dist, asked.loadscopereorder = "loadfile", False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process ends long after the others."""
    items.sort(key=lambda item: item.path.parent.name not in LONGEST and item.path.name != "test_examples.py")


@dataclass(frozen=True)
class Run:
    """How one command line ended."""

    status: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        return json.loads(self.out)


Cli = Callable[..., Run]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process: `cli("cut", "-p", project)` gives a Run."""

    def run(*argv: object) -> Run:
        capsys.readouterr()
        status = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return Run(status, captured.out, captured.err)

    return run


def photograph(seed: int, width: int = 90, height: int = 70) -> Image.Image:
    """A photograph of sorts: a bright blob on a smooth ground, with noise."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    ground = np.stack([rows * 2 + 40, columns + 60, np.full_like(rows, 90 + 20 * (seed % 5))], 2)
    centre = generator.uniform(0.3, 0.7, 2) * (height, width)
    inside = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) < (height / 4) ** 2
    ground[inside] = generator.integers(0, 255, 3)
    noisy = ground + generator.normal(0, 6, ground.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20 small photographs, some in a folder below."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    for number in range(20):
        photograph(number).save(folder / ("below" if number % 4 == 3 else ".") / f"photo-{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of timm's test_vit (160 px, patch 16, 6 blocks of 64 channels), as safetensors."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(TINY, pretrained=False, num_classes=0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def extracted(photos: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with features/tiny, made by the command line. Read only: copy it before changing anything."""
    project = tmp_path_factory.mktemp("extracted") / "study"
    argv = ["extract", photos, "-m", TINY, "--weights", tiny_weights, "--name", "tiny", "-p", project, "-q"]
    assert main([str(word) for word in argv]) == 0
    return project


@pytest.fixture(scope="session")
def brain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated subject in the layout of Algonauts 2023: 24 training and 8 test scenes. Read only."""
    folder = tmp_path_factory.mktemp("algonauts") / "subj01"
    write_brain(folder, training=24, test=8)
    return folder


@pytest.fixture(scope="session")
def brain_table(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A csv of six channels' responses to the photographs of `photos`, by their file names. Read only."""
    path = tmp_path_factory.mktemp("table") / "responses.csv"
    draws = np.random.default_rng(0)
    names = sorted(found.name for found in photos.rglob("*.png"))
    lines = [",".join([name, *(f"{value:.6f}" for value in draws.standard_normal(6))]) for name in names]
    path.write_text("\n".join(["image,a,b,c,d,e,f", *lines]) + "\n")
    return path


@pytest.fixture(scope="session")
def brain_study(brain_folder: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with features/seen (4 tokens an image of the subject's) and features/scenes (all of 3 scenes). Read only."""
    project = tmp_path_factory.mktemp("brain-study") / "study"
    model = ["-m", TINY, "--weights", tiny_weights, "--image-size", 64, "-p", project, "-q"]
    scenes = sorted((sample_data() / "scenes" / "images").iterdir())[:3]
    assert (
        main([str(word) for word in ("extract", brain_folder, *model, "--tokens", "sample:4", "--name", "seen")]) == 0
    )
    assert main([str(word) for word in ("extract", *scenes, *model, "--name", "scenes")]) == 0
    return project


@pytest.fixture
def real() -> Path:
    """The folder of real photographs and weights; the test skips where it is absent."""
    if not REAL.is_dir():
        pytest.skip("real photographs and weights are not here (../shared/real)")
    return REAL


@pytest.fixture(scope="session")
def two_workers() -> Iterator[str]:
    """The address of a Dask scheduler with two worker processes on this machine, which may be busy."""
    pytest.importorskip("distributed")
    from alignedcut_cli.frame import cluster_crew
    from alignedcut_cli.frame.cluster_open import connect

    with pytest.MonkeyPatch.context() as patch, connect("local:2", gpu=False) as client:
        patch.setattr(cluster_crew, "WORKERS_SECONDS", 600)
        assert client.scheduler
        yield client.scheduler.address
