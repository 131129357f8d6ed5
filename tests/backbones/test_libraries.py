"""What is imported to read a model, and that what is left out of it is there for whoever asks."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from alignedcut_cli.backbones.libraries import without_compiler
from alignedcut_cli.datasets.samples import sample_models
from tests.conftest import Cli
from tests.helpers.forks import fresh_python


def test_extract_of_a_timm_model_imports_no_compiler_and_nothing_for_others(
    cli: Cli, photos: Path, tmp_path: Path
) -> None:
    """Only what a model of timm needs, and the features are those of a process that has imported everything."""
    photo, model = next(photos.glob("*.png")), next(iter(sample_models()))
    line = ["extract", str(photo), "--model", model, "--json", "-p"]
    code = f"""
import sys
from alignedcut_cli.main import main
status = main({[*line, str(tmp_path / "alone")]!r})
heavy = {{"torch._dynamo", "open_clip", "sklearn", "scipy", "matplotlib", "sympy", "transformers"}} & set(sys.modules)
assert not heavy and status == 0, (heavy, status)
"""
    done = fresh_python(code)
    done.check_returncode()
    here = cli(*line, tmp_path / "here").object
    contents = [[one["content"] for one in made["artifacts"]] for made in (json.loads(done.stdout), here)]
    assert contents[0] == contents[1]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small package in the place of torch._dynamo, not yet imported."""
    for name in [name for name in sys.modules if name.startswith("torch._dynamo")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("torch._dynamo", "torch._dynamo.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        del sys.modules[name]
    monkeypatch.setitem(vars(torch), "_dynamo", None)  # by setattr, torch itself would load it
    monkeypatch.setattr(torch, "__path__", [str(tmp_path)])
    (tmp_path / "_dynamo").mkdir()
    (tmp_path / "_dynamo" / "__init__.py").write_text("from .utils import other\nfrom . import utils\n")
    (tmp_path / "_dynamo" / "utils.py").write_text(
        "other = 'real'\ndef is_compile_supported(device_type):\n    return f'{device_type} is'\n"
    )


@pytest.mark.usefixtures("compiler")
def test_the_compiler_is_loaded_when_it_is_called() -> None:
    before = torch.compiler.disable
    with without_compiler():
        from torch._dynamo.utils import is_compile_supported

        @torch.compiler.disable
        def first() -> int:
            return 1

        @torch.compiler.disable(recursive=False)
        def second() -> int:
            return 2

    assert not {"torch._dynamo", "torch._dynamo.utils"} & set(sys.modules)
    assert (first(), second()) == (1, 2)
    assert torch.compiler.disable is before
    assert is_compile_supported("cpu") == "cpu is"
    assert "torch._dynamo" in sys.modules


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("names", [("torch._dynamo",), ("torch._dynamo.utils", "torch._dynamo")])
def test_whatever_else_is_asked_of_the_compiler_is_answered_by_itself(names: tuple[str, ...]) -> None:
    with without_compiler():
        modules = [importlib.import_module(name) for name in names]
        assert modules[0].other == "real"  # type: ignore[attr-defined]
        from torch._dynamo import utils

        assert utils.is_compile_supported("cpu") == "cpu is"
    assert sys.modules["torch._dynamo.utils"] is utils


@pytest.mark.usefixtures("compiler")
def test_a_failed_import_leaves_no_stand_in() -> None:
    before, finders = torch.compiler.disable, list(sys.meta_path)
    with pytest.raises(ImportError, match="no such"), without_compiler():
        raise ImportError("no such library")
    assert torch.compiler.disable is before
    assert "torch._dynamo.utils" not in sys.modules
    assert sys.meta_path == finders
