"""Other libraries' log records and warnings stay off the terminal."""

from __future__ import annotations

import gc
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from alignedcut_cli.frame.quiet import quiet_libraries
from alignedcut_cli.frame.rare_collection import rare_collection
from tests.conftest import TINY, Cli
from tests.helpers.open_clips import open_clip_model, random_weights


@pytest.mark.filterwarnings("default")
def test_stderr_holds_this_program_s_lines_alone(
    cli: Cli,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """open_clip logs that a model is random; here it warns and complains as well."""
    import open_clip

    create = open_clip.create_model

    def complain(*given: Any, **options: Any) -> Any:
        warnings.warn("QuickGELU mismatch", UserWarning, stacklevel=1)
        logging.getLogger("timm.models").error("no xFormers")
        return create(*given, **options)

    model = open_clip_model(tmp_path)
    weights = random_weights(model, tmp_path / "weights.safetensors")
    assert "initialized randomly" in caplog.text
    caplog.clear()
    monkeypatch.setattr(open_clip, "create_model", complain)
    run = cli("extract", photos / "photo-00.png", "-m", model.label, "--weights", weights, "-p", tmp_path / "study")
    assert run.status == 0
    assert [line.partition(":")[0] for line in run.err.splitlines()] == ["alignedcut extract"]
    assert caplog.text == ""
    assert [str(one.message) for one in recwarn] == []
    logging.getLogger("timm.models").error("heard again afterwards")
    assert "heard again" in caplog.text


def test_a_hub_that_is_tried_again_is_told_once_in_our_words(
    cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    logger, heard = logging.getLogger("huggingface_hub"), io.StringIO()
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(heard)])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def refuse(*_: object, **__: object) -> str:
        logger.getChild("utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    run = cli("extract", photos / "photo-00.png", "-m", TINY, "-p", tmp_path / "study")
    assert run.status == 69
    assert run.err.splitlines()[0] == (
        "alignedcut extract: downloading the weights of test_vit.r160_in1k from the hub (timm/test_vit.r160_in1k)"
    )
    assert "no route to host" in run.err.splitlines()[1]
    assert len(run.err.splitlines()) == 2
    assert heard.getvalue() == ""


def test_warnings_that_are_to_be_errors_are_raised() -> None:
    with pytest.raises(UserWarning, match="told"), quiet_libraries():
        warnings.warn("told", UserWarning, stacklevel=1)
    assert logging.root.manager.disable == logging.NOTSET


def test_garbage_is_looked_for_as_before_after_the_block() -> None:
    before = gc.get_threshold()
    with rare_collection():
        assert gc.get_threshold()[0] > before[0] and gc.isenabled()
    assert gc.get_threshold() == before
