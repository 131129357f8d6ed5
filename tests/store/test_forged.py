"""Files of the store that somebody altered, checksum and all: refused as damaged, and nothing outside is opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignedcut_cli.errors import DataError
from alignedcut_cli.store.artifact import read_header, read_layout
from alignedcut_cli.store.canonical import digest
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.header import KEY
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.project import INDEX, Project
from alignedcut_cli.store.status import project_states
from alignedcut_cli.store.swap import PLAN, partial_folder, partial_progress
from tests.helpers.stores import make_cut, make_features

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = Project(tmp_path / "study")
    make_features(found)
    make_cut(found)
    return found


def signed(raw: dict[str, Any], change: Change) -> dict[str, Any]:
    """A header that was changed, with a checksum that fits."""
    raw = {key: value for key, value in raw.items() if key != "check"}
    change(raw)
    return {**raw, "check": digest(raw)}


def forge(path: Path, change: Change) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"][KEY] = json.dumps(signed(json.loads(header["__metadata__"][KEY]), change))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda raw: raw["inputs"][0].pop("content"), "inputs"),
        (lambda raw: raw.update(inputs=[None]), "inputs"),
        (lambda raw: raw["tensors"]["eigenvectors"].pop("shape"), "tensors"),
        (lambda raw: raw["tensors"]["eigenvectors"].update(shape=[6.0, 2]), "tensors"),
        (lambda raw: raw["axes"]["M"].pop("size"), "axes"),
        (lambda raw: raw["axes"].update(B=3), "axes"),
        (lambda raw: raw["axes"].update(B={"size": 1, "images": [{"path": None}]}), "images"),
        (lambda raw: raw["history"].insert(0, "x"), "history"),
        (lambda raw: raw.update(kind=None), "kind"),
        (lambda raw: raw.pop("params"), "params"),
    ],
)
def test_a_forged_header_is_refused_by_its_field(project: Project, change: Change, field: str) -> None:
    path = project.path("cut", "c")
    forge(path, change)
    with pytest.raises(DataError, match=f"the header's {field} is malformed") as caught:
        read_header(path)
    assert caught.value.code == "artifact-corrupt"
    assert [state.state for state in project_states(project)] == ["fresh", "corrupt"]
    assert [found.code for found in check_project(project, deep=True)] == ["artifact-corrupt"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw["shards"][0].update(file="../../../outside.safetensors"), "no list of shards"),
        (lambda raw: raw["shards"][0].update(file="/etc/passwd"), "no list of shards"),
        (lambda raw: raw["shards"][0].update(file=None), "no list of shards"),
        (lambda raw: raw.update(shards=[]), "no list of shards"),
        (lambda raw: raw.pop("shards"), "no list of shards"),
        (lambda raw: raw["axes"].pop("B"), "no list of images"),
        (lambda raw: raw["axes"]["S"].pop("slots"), "no list of slots"),
        (lambda raw: raw["tensors"].pop("tokens.00"), "of another run"),
    ],
)
def test_a_forged_index_is_refused(project: Project, change: Change, told: str) -> None:
    path = project.path("features", "f") / INDEX
    path.write_text(json.dumps(signed(json.loads(path.read_text()), change)))
    with pytest.raises(DataError, match=told):
        _ = FeatureSet(path.parent).layouts


@pytest.mark.parametrize("entry", [{"data_offsets": [0.0, 48.0]}, {"shape": [6.0, 2]}, {"shape": [True, 12]}])
def test_numbers_in_a_layout_are_whole(project: Project, entry: dict[str, Any]) -> None:
    path = project.path("cut", "c")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["eigenvectors"].update(entry)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(DataError, match="is no safetensors file"):
        read_layout(path)


@pytest.mark.parametrize("shards", [None, [None], [float("inf")], ["../../x.safetensors"], [{}], "ab"])
def test_a_forged_plan_is_none(project: Project, shards: object) -> None:
    folder = project.path("features", "g")
    partial_folder(folder).mkdir()
    plan = {"recipe": "r", "params": {}, "external": {}, "shards": shards}
    (partial_folder(folder) / PLAN).write_text(json.dumps(plan))
    assert partial_progress(folder) is None


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "cut", "name": "c"}',
        '{"event": "done", "kind": "cut", "name": "c", "argv": "x", "cwd": "/"}',
        '{"event": "done", "kind": "cut", "name": "c", "argv": [1], "cwd": "/"}',
        '{"event": "done", "kind": "cut", "name": "c", "argv": [], "cwd": null}',
        '{"event": "done", "kind": "cut", "name": "c", "argv": [], "cwd": "/", "manifest": [], "image_root": 3}',
        "[" * 100_000,
    ],
)
def test_lines_of_the_journal_that_are_no_events_are_left_out(project: Project, line: str) -> None:
    journal = Journal(project)
    before = journal.records()
    with journal.path.open("a") as stream:
        stream.write(line + "\n")
    assert journal.records() == before
    assert len(project_states(project)) == 2 and journal.image_roots({"m"}) == []


def test_pipes_are_not_waited_for(project: Project) -> None:
    for path in (Journal(project).path, project.path("features", "f") / INDEX):
        path.unlink()
        os.mkfifo(path)
    assert Journal(project).records() == []
    with pytest.raises(DataError, match="is no regular file"):
        FeatureSet(project.path("features", "f"))
