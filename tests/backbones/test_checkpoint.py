"""Weights files that hold more than tensors: refused by name, and nothing of them runs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from alignedcut_cli.backbones.checkpoint import load_open_clip, read_state
from alignedcut_cli.errors import DataError
from tests.conftest import TINY, Cli

WRITERS: dict[str, Callable[[Any, Path], object]] = {
    "zip": torch.save,
    "legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
    "pickle": lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2)),
}
READERS: dict[str, Callable[[Path], object]] = {
    "timm": read_state,
    "open_clip": lambda path: load_open_clip(torch.nn.Linear(1, 1), path),
}


class Hostile:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_pickle_that_calls_something_is_refused_by_name(
    write: Callable[[Any, Path], object], read: Callable[[Path], object], tmp_path: Path
) -> None:
    path, folder = tmp_path / "weights.pth", tmp_path / "made"
    write({"state_dict": Hostile(folder)}, path)
    with pytest.raises(DataError, match=r"its pickle calls posix\.mkdir, which is no tensor") as caught:
        read(path)
    assert str(path) in caught.value.message
    assert "safetensors.torch.save_file" in caught.value.remedy
    assert not folder.exists()


def test_the_suffix_of_safetensors_in_any_case(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "W.SafeTensors")
    assert torch.equal(read_state(tmp_path / "W.SafeTensors")["weight"], torch.ones(2))


def test_the_hostile_pickle_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Hostile(tmp_path / "made")))
    assert (tmp_path / "made").is_dir()


def test_names_in_a_pickle_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"\x80\x02cos\nsys\x1b[31mtem\nq\x00.")
    with pytest.raises(DataError, match=r"calls os\.sys,") as caught:
        read_state(path)
    assert "\x1b" not in caught.value.message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_torch_s_advice_to_load_unsafely_is_not_passed_on(read: Callable[[Path], object], tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "script.pt")
    (tmp_path / "new.pth").write_bytes(pickle.dumps({"weight": Hostile(tmp_path / "made")}, protocol=4))
    for name, told in (("script.pt", "is a TorchScript archive"), ("new.pth", "no checkpoint of plain tensors")):
        with pytest.raises(DataError, match=told) as caught:
            read(tmp_path / name)
        assert "weights_only" not in f"{caught.value.message} {caught.value.remedy}"
    assert not (tmp_path / "made").exists()


def test_weights_of_another_kind_do_not_fit_a_siglip(tmp_path: Path) -> None:
    """open_clip looks up the scale of a checkpoint for a model with a bias of logits, as SigLIP's have."""
    module = torch.nn.Linear(1, 1)
    module.logit_bias = torch.nn.Parameter(torch.zeros(()))
    torch.save({"weight": torch.zeros(1, 1)}, tmp_path / "weights.pth")
    with pytest.raises(DataError, match="does not fit the model: it lacks 'logit_scale'"):
        load_open_clip(module, tmp_path / "weights.pth")


def test_extract_refuses_a_hostile_file_in_one_line(cli: Cli, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(Hostile(tmp_path / "made"), path)
    run = cli("extract", photos / "photo-00.png", "-m", TINY, "--weights", path, "-p", tmp_path / "study")
    assert (run.status, run.out) == (65, "")
    assert run.err == (
        f"alignedcut extract: {path} cannot be read as weights: its pickle calls posix.mkdir, which is no tensor and may "
        "run any code; nothing of it was run. Take weights from its maker as safetensors, or, only if you trust the file, "
        "save its state dict with safetensors.torch.save_file.   [weights-unsafe, exit 65]\n"
    )
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_tar_is_refused_before_torch_makes_a_folder_for_it(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", lambda *_, **__: pytest.fail("a folder was made"))
    (tmp_path / "w.pth").write_bytes(bytes(1717))
    with pytest.raises(DataError, match="it is a tar archive"):
        read(tmp_path / "w.pth")
