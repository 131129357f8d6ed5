"""A study whose artifacts lie in shards: every command reads them as it reads single files, to the same results."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.commands import show
from alignedcut_cli.main import main
from alignedcut_cli.store import ranges
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import KINDS, Project
from tests.commands.cut.test_space import write_align, write_features
from tests.conftest import Cli, Run

ROWS, LIMIT = 1_500, 10_000
FEW = ("--nodes", "60", "--perplexity", "5", "--no-pictures")
DRAWS = ("--bootstrap", "5", "--no-pictures")
TWO = ("--from", "tiny", "--from", "other")
COMMANDS = (
    ("cut", *TWO, "--layers", "4,5", "--space", "aligned", "-C", "16", "--nodes", "300", "--name", "joint"),
    ("cut", *TWO, "--onto", "cut/joint", "--name", "onto"),
    ("color", "--from", "cut/joint", *FEW),
    ("color", "--from", "cut/onto", "--onto", "color/joint", "--no-pictures"),
    ("segment", "--from", "cut/joint", "--masks", "masks", *DRAWS),
    ("trace", "--from", "cut/joint", *FEW),
    ("concepts", "--from", "color/joint", "--masks", "masks", "--pixel", "1:0:2", "--no-pictures"),
    ("compare", "cut/joint", "cut/onto", "--name", "compared", *DRAWS),
    ("tree", "--from", "cut/joint", "--clusters", "4", *DRAWS),
    ("pathways", "--from", "cut/joint", "--masks", "masks", "--permutations", "5", *DRAWS),
    ("report", "--from", "color/joint", "--from", "segment/joint", "--from", "trace/joint", "--from", "concepts/joint"),
)
SHARDED = (
    *("cut/joint", "cut/onto", "color/joint", "color/onto", "segment/joint", "trace/joint", "tree/joint"),
    *("concepts/joint", "pathways/joint"),
)
TABLES = (*SHARDED, "compare/compared")


@dataclass(frozen=True)
class Studies:
    """The same study in single files and in shards, each in its `study/`. Read only."""

    files: Project
    shards: Project


def sized(patch: pytest.MonkeyPatch, limit: int, rows: int = ROWS) -> None:
    patch.setattr(ranges, "ROWS", rows)
    patch.setattr(ranges, "LIMIT", limit)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, extracted: Path, photos: Path) -> Studies:
    made = []
    for name, limit in (("files", 1 << 40), ("shards", LIMIT)):
        with pytest.MonkeyPatch.context() as patch:
            sized(patch, limit)
            folder = tmp_path_factory.mktemp(name)
            patch.chdir(folder)
            made.append(make_study(folder, extracted, photos))
    return Studies(*made)


def make_study(folder: Path, extracted: Path, photos: Path) -> Project:
    project = Project(Path(shutil.copytree(extracted, folder / "study")))
    write_features(project, project.header("features", "tiny"), "other", {4: 48, 5: 40})
    write_align(project)
    (folder / "masks").mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        mask = np.zeros((70, 90), np.uint8)
        mask[20:60, 25:60] = 1 + number % 2
        Image.fromarray(mask).save(folder / "masks" / path.name)
    for words in COMMANDS:
        assert main([*words, "-p", "study", "-q"]) == 0, words
    return project


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    sized(monkeypatch, LIMIT)


def test_what_is_large_lies_in_shards_and_the_rest_in_files(studies: Studies) -> None:
    found = {
        f"{kind}/{name}"
        for kind in KINDS
        for name in studies.shards.names(kind)
        if _is_folder(studies.shards, kind, name)
    }
    assert found == set(SHARDED)
    assert not any(_is_folder(studies.files, kind, name) for kind in KINDS for name in studies.files.names(kind))


def _is_folder(project: Project, kind: str, name: str) -> bool:
    return kind != "features" and project.path(kind, name).is_dir()


def test_every_command_gives_the_same_recipes_and_contents(studies: Studies) -> None:
    for kind in KINDS:
        assert studies.shards.names(kind) == studies.files.names(kind) != [] or kind in ("score", "probe"), kind
        for name in studies.files.names(kind):
            found, wanted = (each.header(kind, name) for each in (studies.shards, studies.files))
            assert (found.recipe, found.content) == (wanted.recipe, wanted.content), (kind, name)


def test_the_page_has_the_same_bytes(studies: Studies) -> None:
    found, wanted = (each.path("reports", "report").read_bytes() for each in (studies.shards, studies.files))
    assert found == wanted


def tables_of(cli: Cli, project: Project, folder: Path) -> dict[str, bytes]:
    """Every table of every artifact, exported; nothing of an empty one."""
    found = {}
    for reference in TABLES:
        kind, name = project.parse(reference)
        offers = show.tables_of(kind).items()
        for table in [table for table, one in offers if one.is_there(project.header(kind, name))]:
            path = folder / f"{kind}-{name}-{table}.csv"
            run = cli("show", reference, "--export", path, "--table", table, "-p", project.root)
            assert run.status == 0 or "is empty" in run.err, run.err
            found[path.name] = path.read_bytes() if path.exists() else b""
    return found


def test_exported_tables_have_the_same_bytes(studies: Studies, cli: Cli, tmp_path: Path) -> None:
    made = []
    for name in ("files", "shards"):
        (tmp_path / name).mkdir()
        made.append(tables_of(cli, getattr(studies, name), tmp_path / name))
    assert made[0] == made[1]
    assert {f"{one.replace('/', '-')}-nodes.csv" for one in SHARDED} <= {name for name, text in made[0].items() if text}


def without_shards(run: Run) -> Any:
    assert run.status == 0, run.err
    return {key: value for key, value in run.object.items() if key != "shards"}


def test_show_status_and_check_say_the_same(studies: Studies, cli: Cli) -> None:
    for reference in TABLES:
        found, wanted = (
            without_shards(cli("show", reference, "-p", each.root, "--json"))
            for each in (studies.shards, studies.files)
        )
        assert found == wanted
        assert (
            cli("show", reference, "-p", studies.shards.root).out
            == cli("show", reference, "-p", studies.files.root).out
        )
    assert cli("status", "-p", studies.shards.root, "--exit-code").status == 0
    assert (
        cli("status", "-p", studies.shards.root, "--json").out == cli("status", "-p", studies.files.root, "--json").out
    )
    assert cli("check", "--deep", "-p", studies.shards.root, "--exit-code").status == 0


def test_what_is_there_is_up_to_date(studies: Studies, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studies.shards.root.parent)
    for words in (*COMMANDS[:4], (*COMMANDS[0], "--overwrite"), COMMANDS[8]):
        run = cli(*words, "-p", "study", "--json")
        assert (run.status, run.object["made"]) == (0, False), run.err
        assert Path(run.object["path"]).is_dir()


def test_overwrite_puts_one_form_in_the_place_of_the_other(
    studies: Studies, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(Path(shutil.copytree(studies.shards.root, tmp_path / "study")))
    again = ("color", "--from", "cut/joint", *FEW, "--overwrite", "-p", project.root, "--json", "--seed")
    refused = cli(*again[:-4], "--seed", "1", "-p", project.root, "--json")
    assert refused.status == 0, refused.err
    for seed, limit, name in (
        (2, 1 << 40, "joint.safetensors"),
        (3, 1 << 40, "joint.safetensors"),
        (4, LIMIT, "joint"),
    ):
        sized(monkeypatch, limit)
        run = cli(*again, seed)
        assert (run.status, Path(run.object["path"]).name, run.object["made"]) == (0, name, True), run.err
        assert sorted(path.name for path in (project.root / "color").iterdir()) == sorted([name, "onto"])
        assert list(check_project(project, deep=True)) == []


def test_a_damaged_shard_stops_the_commands_that_read_it(studies: Studies, cli: Cli, tmp_path: Path) -> None:
    project = Project(Path(shutil.copytree(studies.shards.root, tmp_path / "study")))
    shard = project.path("cut", "joint") / "00002-of-00005.safetensors"
    whole = shard.read_bytes()
    for content in (whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1])):
        shard.write_bytes(content)
        for words in (("tree", "--name", "t"), ("color", *FEW, "--name", "k"), ("trace", *FEW, "--name", "t")):
            run = cli(*words, "--from", "cut/joint", "-p", project.root, "--json")
            assert (run.status, shard.name in run.err) == (65, True), run.err
    shard.unlink()
    run = cli("status", "-p", project.root, "--json")
    states = {one["name"]: one["state"] for one in run.object["artifacts"] if one["kind"] == "cut"}
    assert states == {"joint": "corrupt", "onto": "stale"}


@pytest.mark.parametrize("space", ["aligned", "brain"])
def test_an_alignment_in_shards_is_read(
    extracted: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str
) -> None:
    """An alignment of so many voxels does not exist, but whatever reads one takes it."""
    made = []
    for name, limit in (("files", 1 << 40), ("shards", 9_000)):
        sized(monkeypatch, limit, rows=8)
        project = Project(Path(shutil.copytree(extracted, tmp_path / name)))
        write_features(project, project.header("features", "tiny"), "other", {4: 48, 5: 40})
        write_align(project)
        assert project.path("align", "shared").is_dir() == (name == "shards")
        areas = ("--roi", "V1") if space == "brain" else ()
        words = ("--from", "other", "--layers", "4", "--space", space, "-C", "4", "--name", "cut", *areas)
        assert cli("cut", *words, "-p", project.root).status == 0
        made.append(project.header("cut", "cut"))
    assert made[0].content == made[1].content and made[0].recipe == made[1].recipe
