"""Parts of an artifact in the making."""

from __future__ import annotations

import os
import platform
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.errors import DataError, InputMissingError
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.check import check_project, sweep
from alignedcut_cli.store.files import writing
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.locks import hold
from alignedcut_cli.store.parts import Parts
from alignedcut_cli.store.project import Project
from alignedcut_cli.store.status import project_states

RECIPE = Recipe("cut", "a", 1, {"seed": 0})
NUMERICS = {"torch": "2.9", "device": "cpu"}


def parts_of(folder: Path, recipe: Recipe = RECIPE, **numerics: str) -> Parts:
    return Parts(Project(folder), recipe, NUMERICS | numerics)


def rows(number: int) -> dict[str, np.ndarray]:
    return {"rows": np.full((4, 3), number, np.float32)}


def test_parts_are_read_as_they_were_written_by_whomever(tmp_path: Path) -> None:
    parts_of(tmp_path).open()
    for number in (2, 0):
        parts_of(tmp_path).write("project", number, 3, rows(number))
    found = parts_of(tmp_path)
    found.open()
    assert found.missing("project", 3) == [1]
    assert found.missing("gram", 3) == [0, 1, 2]
    np.testing.assert_array_equal(found.read("project", 2, 3)["rows"], rows(2)["rows"])
    with pytest.raises(DataError, match="gone or damaged"):
        found.read("project", 1, 3)
    found.drop()
    assert not list((tmp_path / "cut").iterdir())


@pytest.mark.parametrize(
    "other", [replace(RECIPE, params={"seed": 1}), replace(RECIPE, algorithm=2)], ids=["parameter", "algorithm"]
)
def test_parts_of_another_recipe_are_removed(tmp_path: Path, other: Recipe) -> None:
    before = parts_of(tmp_path)
    before.open()
    before.write("project", 0, 1, rows(0))
    found = parts_of(tmp_path, other)
    found.open()
    assert found.missing("project", 1) == [0]
    assert sorted(path.name for path in found.folder.iterdir()) == ["owner.json"]


def test_parts_of_another_torch_and_of_another_number_of_tasks_count_as_missing(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    parts.open()
    parts.write("project", 0, 1, rows(0))
    assert parts_of(tmp_path, torch="2.10").missing("project", 1) == [0]
    assert parts_of(tmp_path, device="cuda").missing("project", 1) == [0]
    assert parts.missing("project", 2) == [0, 1]


def test_a_damaged_part_counts_as_missing(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    parts.open()
    for content in (b"", b"x" * 100, "cut off"):
        parts.write("project", 0, 1, rows(0))
        path = next(parts.folder.glob("*.safetensors"))
        path.write_bytes(path.read_bytes()[:-3] if content == "cut off" else content)  # type: ignore[arg-type]
        assert parts.missing("project", 1) == [0]
        with pytest.raises(DataError):
            parts.read("project", 0, 1)


def test_a_worker_that_nobody_waits_for_writes_nothing(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    parts.open()
    parts.drop()
    with pytest.raises(InputMissingError):
        parts.write("project", 0, 1, rows(0))
    assert not parts.folder.exists()


def test_two_writers_of_one_part_write_the_same_bytes(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    parts.open()
    contents = []
    for _ in range(2):
        parts.write("project", 0, 1, rows(0))
        contents.append(next(parts.folder.glob("*.safetensors")).read_bytes())
    assert contents[0] == contents[1]


def test_a_job_waits_for_another_that_opens_the_parts(tmp_path: Path) -> None:
    parts, done = parts_of(tmp_path), []
    with hold(Project(tmp_path).lock_path("cut", "a.parts"), "cut/a"):
        job = threading.Thread(target=lambda: (parts.open(), done.append(True)))
        job.start()
        job.join(0.2)
        assert not done
    job.join(10)
    assert done and parts.folder.is_dir()


def test_temporaries_of_writers_that_are_gone_are_removed_under_the_lock_and_no_others(tmp_path: Path) -> None:
    project, parts = Project(tmp_path), parts_of(tmp_path)
    parts.open()
    here, nobody = platform.node(), 99999999
    kept = [f".a.{here}.{os.getpid()}.tmp", ".b.elsewhere.12.tmp"]
    for name in (*kept, f".c.{here}.{nobody}.tmp", ".e.elsewhere.12.tmp"):
        (parts.folder / name).write_text("x")
    os.utime(parts.folder / ".e.elsewhere.12.tmp", (0, 0))
    with project.writing("cut", "a"):
        assert sorted(path.name for path in parts.folder.glob(".*")) == kept


def test_status_tells_how_many_parts_there_are_and_the_command_that_goes_on(tmp_path: Path) -> None:
    project, parts = Project(tmp_path), parts_of(tmp_path)
    parts.open()
    parts.write("project", 0, 3, rows(0))
    Journal(project).note("start", "cut", "a", ["cut", "--name", "a", "-C", "7"], recipe=RECIPE.identity)
    state, *others = project_states(project)
    assert (state.reference, state.state, state.reason, others) == ("cut/a", "partial", "1 files", [])
    assert state.repair == "alignedcut cut --name a -C 7"
    assert project.names("cut") == [] and not list(check_project(project, deep=True))


def test_check_finds_parts_of_a_committed_artifact_and_temporaries_of_killed_writers(tmp_path: Path) -> None:
    project, parts = Project(tmp_path), parts_of(tmp_path)
    parts.open()
    killed = parts.folder / f".project-00000-of-00001.safetensors.{platform.node()}.99999999.tmp"
    killed.write_text("x")
    assert [one.where for one in check_project(project, deep=False)] == [str(killed.relative_to(tmp_path))]
    assert sweep(project) == [killed] and parts.folder.is_dir()
    write_artifact(project.path("cut", "a"), RECIPE, rows(0), {"rows": ("M C", "rows")}, axes={}, numerics={})
    assert [one.where for one in check_project(project, deep=False)] == ["cut/.a.parts"]
    assert sweep(project) == [parts.folder] and not list(check_project(project, deep=True))


def test_a_temporary_of_this_machine_that_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with project.writing("cut", "a"), writing(project.path("cut", "a")) as temporary:
        temporary.write_text("x")
        assert not list(check_project(project, deep=False))
