"""A project as a whole: names, locks, the journal, the hash cache, and what status and check say of it."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alignedcut_cli.errors import AlignedcutError, DataError, InputMissingError, LockedError, UsageError
from alignedcut_cli.store.check import check_project, sweep
from alignedcut_cli.store.features import PLAN, FeatureWriter
from alignedcut_cli.store.hashes import HashCache
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.project import INDEX, KINDS, Project, check_name
from alignedcut_cli.store.status import ArtifactState, project_states
from tests.conftest import Cli, Run
from tests.helpers.forks import ROOT
from tests.helpers.stores import RANGES, features_recipe, flip, make_cut, make_features, write_shard


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "study").create()


@pytest.fixture
def chain(project: Project) -> Project:
    """features/f -> cut/c -> color/k."""
    make_features(project)
    make_cut(project)
    make_cut(project, "k", "c", kind="color")
    return project


def states(project: Project) -> dict[str, ArtifactState]:
    return {state.reference: state for state in project_states(project)}


def found(project: Project, *, deep: bool = False) -> list[tuple[str, str]]:
    return [(finding.where, finding.code) for finding in check_project(project, deep=deep)]


# names


@pytest.mark.parametrize("name", ["a", "A1", "tiny-clip", "a.b", "a+b_c", "0", "x" * 200, "x.partial", "x.old"])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "ä", "x" * 201, "a.safetensors", "../a", "a\0", "~", "*"]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name an artifact"):
        check_name(name)


def test_references(chain: Project) -> None:
    assert chain.parse("cut/c") == ("cut", "c")
    assert chain.parse("c", "cut") == ("cut", "c")
    assert chain.parse("c") == ("cut", "c")
    assert chain.parse("features/f/") == ("features", "f")
    assert chain.parse(str(chain.path("cut", "c"))) == ("cut", "c")
    assert chain.parse(str(chain.path("features", "f"))) == ("features", "f")
    for kind in KINDS:
        assert chain.parse(chain.reference(kind, "x"), kind) == (kind, "x")


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("cut/c", "features", "wrong-kind"),
        ("other/c", None, "bad-reference"),
        ("other/c", "cut", "bad-reference"),
        ("cut/../c", None, "bad-reference"),
        ("cut/-c", None, "bad-name"),
        ("", None, "bad-name"),
        ("/", None, "bad-name"),
    ],
)
def test_bad_references(chain: Project, text: str, kind: str | None, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        chain.parse(text, kind)
    assert caught.value.code == code


def test_ambiguous_and_unknown_names(chain: Project) -> None:
    make_cut(chain, "f")
    with pytest.raises(UsageError) as caught:
        chain.parse("f")
    assert (caught.value.code, caught.value.remedy) == ("ambiguous-name", "Give one of: features/f, cut/f")
    with pytest.raises(InputMissingError, match="there is no 'nothing'"):
        chain.parse("nothing")
    with pytest.raises(InputMissingError) as missing:
        chain.header("cut", "nothing")
    assert missing.value.remedy == "Give one of: c, f"


def test_the_only_one(chain: Project) -> None:
    assert chain.only("cut") == "c"
    make_cut(chain, "d")
    with pytest.raises(UsageError) as caught:
        chain.only("cut")
    assert caught.value.remedy == "Choose with --from cut/NAME"
    with pytest.raises(InputMissingError, match="there is no align artifact"):
        chain.only("align")


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        for ask in (project_states, lambda project: list(check_project(project, deep=False))):
            with pytest.raises(InputMissingError) as caught:
                ask(Project(folder))
            assert caught.value.code == "no-project"
    assert list(tmp_path.iterdir()) == []


def test_hidden_files_and_strangers_are_no_artifacts(chain: Project) -> None:
    (chain.root / "cut" / ".c.safetensors.123.tmp").write_text("x")
    (chain.root / "cut" / "notes.txt").write_text("x")
    (chain.root / "features" / ".DS_Store").write_text("x")
    assert chain.names("cut") == ["c"]
    assert chain.names("features") == ["f"]


def test_a_renamed_artifact_goes_by_its_new_name_and_a_misplaced_one_is_named(chain: Project) -> None:
    shutil.copy(chain.path("cut", "c"), chain.path("cut", "other"))
    assert chain.header("cut", "other").name == "other"
    shutil.copy(chain.path("cut", "c"), chain.path("color", "wrong"))
    with pytest.raises(DataError, match="holds a cut artifact"):
        chain.header("color", "wrong")
    assert states(chain)["color/wrong"].state == "corrupt"


# locks


@contextmanager
def holder(project: Project, kind: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds an artifact's lock until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from alignedcut_cli.store.project import Project\n"
        "with Project(Path(sys.argv[1])).writing(*sys.argv[2:]):\n    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(project.root), kind, name],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lock_names_its_holder_and_dies_with_it(project: Project) -> None:
    assert not project.is_being_written("cut", "c")
    with holder(project, "cut", "c") as process:
        assert project.is_being_written("cut", "c")
        with pytest.raises(LockedError) as caught, project.writing("cut", "c"):
            pytest.fail("two writers")
        assert caught.value.exit_status == 75
        assert f"by process {process.pid}" in caught.value.message
        assert project.is_being_written("cut", "c")
        with project.writing("cut", "d"), project.writing("color", "c"):
            assert project.is_being_written("cut", "d")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not project.is_being_written("cut", "c")
    with project.writing("cut", "c"):
        assert project.is_being_written("cut", "c")
    assert not project.is_being_written("cut", "c")


def test_a_lock_is_given_back_by_a_failure(project: Project) -> None:
    with pytest.raises(RuntimeError), project.writing("cut", "c"):
        raise RuntimeError
    with project.writing("cut", "c"):
        assert True


def test_a_writer_sweeps_its_predecessors_temporary_files_and_no_others(chain: Project) -> None:
    cut = chain.root / "cut"
    for name in (".c.safetensors.12.tmp", ".c.c.safetensors.12.tmp", ".d.safetensors.12.tmp", ".c.safetensors.x.tmp"):
        (cut / name).write_text("x")
    with chain.writing("cut", "c"):
        left = sorted(path.name for path in cut.glob(".*"))
    assert left == [".c.c.safetensors.12.tmp", ".c.safetensors.x.tmp", ".d.safetensors.12.tmp"]
    writer = FeatureWriter(chain.path("features", "g"), features_recipe("g"), RANGES)
    writer.open()
    (writer.partial / f".{writer.shard_name(0)}.{platform.node()}.99999999.tmp").write_text("x")  # of no process
    with chain.writing("features", "g"):
        assert [path.name for path in writer.partial.iterdir()] == [PLAN]


# the journal and the hash cache


def test_the_journal_survives_a_line_that_was_cut_off(project: Project) -> None:
    journal = Journal(project)
    assert journal.records() == []
    journal.note("done", "cut", "a", ["cut", "--name", "a"])
    whole = journal.path.read_bytes()
    for end in (len(whole) - 1, len(whole) // 2, 1):
        journal.path.write_bytes(whole + whole[:end])
        journal.note("done", "cut", "b", ["cut", "--name", "b"])
        names = [record["name"] for record in journal.records()]
        assert names == (["a", "a", "b"] if end == len(whole) - 1 else ["a", "b"])
    journal.path.write_bytes(whole + b"\xff\xfe\n[]\n7\n")
    assert [record["name"] for record in journal.records()] == ["a"]


def test_the_repair_command_is_what_was_typed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(project)
    assert journal.command("features", "x", overwrite=False) == "alignedcut extract --name x"
    assert journal.command("cut", "x", overwrite=True) == "alignedcut cut --overwrite --name x"
    argv = ["extract", "-m", "tiny", "--", "-my photo's.png"]
    journal.note("start", "features", "x", argv)
    assert shlex.split(journal.command("features", "x", overwrite=False)) == ["alignedcut", *argv]
    told = shlex.split(journal.command("features", "x", overwrite=True))
    assert told == ["alignedcut", "extract", "--overwrite", *argv[1:]]
    journal.note("start", "features", "x", ["extract", "--overwrite"])
    assert journal.command("features", "x", overwrite=True) == "alignedcut extract --overwrite"
    before = Path.cwd()
    monkeypatch.chdir(project.root)
    assert journal.command("features", "x", overwrite=False).startswith(f"cd {shlex.quote(str(before))} && alignedcut ")


def test_the_journal_knows_where_images_were(project: Project) -> None:
    journal = Journal(project)
    journal.note("done", "features", "x", [], manifest="m", image_root="/one")
    journal.note("done", "features", "y", [], manifest="m", image_root="/two")
    journal.note("done", "features", "z", [], manifest="other", image_root="/three")
    journal.note("done", "features", "x", [], manifest="m", image_root="/one")
    assert journal.image_roots(["m"]) == [Path("/one"), Path("/two")]
    assert journal.image_roots(["m", "other"]) == [Path("/one"), Path("/three"), Path("/two")]
    assert journal.image_roots(["none"]) == []


def test_the_hash_cache_forgets_what_changed(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    cache = HashCache(project)
    assert cache.get(path) is None
    cache.put(path, {"sha256": "1"})
    cache.save()
    assert HashCache(project).get(path) == {"sha256": "1"}
    stamp = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_mtime_ns == stamp.st_mtime_ns
    assert HashCache(project).get(path) is None
    cache.put(path, {"sha256": "2"})
    (tmp_path / "b.png").write_bytes(b"two")
    (tmp_path / "b.png").replace(path)
    assert cache.get(path) is None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b'{"PATH": 1}', b'{"PATH": {}}', b'{"PATH": {"stamp": 1}}']
)
def test_a_broken_hash_cache_is_an_empty_one(project: Project, content: bytes) -> None:
    path = project.root / ".alignedcut" / "hashes.json"
    path.write_bytes(content.replace(b"PATH", str(path).encode()))
    assert HashCache(project).get(path) is None


# status


def test_everything_fresh(chain: Project) -> None:
    assert {reference: state.state for reference, state in states(chain).items()} == {
        "features/f": "fresh",
        "cut/c": "fresh",
        "color/k": "fresh",
    }
    assert all(state.repair == "" and state.content and state.recipe for state in states(chain).values())


def test_an_input_that_changed_makes_all_downstream_stale(chain: Project) -> None:
    make_features(chain, add=1.0)
    told = states(chain)
    assert (told["features/f"].state, told["cut/c"].state, told["color/k"].state) == ("fresh", "stale", "stale")
    assert told["cut/c"].reason == "its input features/f has changed since"
    assert told["color/k"].reason == "its input cut/c is stale"
    assert told["cut/c"].repair == "alignedcut cut --overwrite --from features/f --name c"


def test_an_input_that_is_gone(chain: Project) -> None:
    shutil.rmtree(chain.path("features", "f"))
    told = states(chain)
    assert [(r, s.state) for r, s in told.items()] == [
        ("features/f", "missing"),
        ("cut/c", "stale"),
        ("color/k", "stale"),
    ]
    assert told["features/f"].repair == "alignedcut extract photos --name f"
    assert told["features/f"].reason == "read by cut/c"
    assert told["cut/c"].reason == "its input features/f is gone"


def test_an_extraction_that_has_not_ended(chain: Project) -> None:
    writer = FeatureWriter(chain.path("features", "g"), features_recipe("g"), RANGES)
    writer.open()
    write_shard(writer, 1)
    Journal(chain).note("start", "features", "g", ["extract", "photos", "--name", "g"])
    told = states(chain)["features/g"]
    assert (told.state, told.reason, told.repair) == ("partial", "1/3 shards", "alignedcut extract photos --name g")
    with holder(chain, "features", "g"):
        assert states(chain)["features/g"].reason == "1/3 shards (being written)"
    assert found(chain) == []


def test_status_lives_with_a_broken_plan(chain: Project) -> None:
    writer = FeatureWriter(chain.path("features", "g"), features_recipe("g"), RANGES)
    writer.open()
    (writer.partial / PLAN).write_bytes(b"\xff{")
    assert {state.state for state in states(chain).values()} == {"fresh"}
    assert found(chain) == [("features/.g.partial", "leftover")]
    assert sweep(chain) == [writer.partial]


@pytest.mark.parametrize("how", ["header", "cut off", "empty", "shard", "index", "no index"])
def test_corrupt_artifacts_and_what_mends_them(chain: Project, how: str) -> None:
    features, cut = chain.path("features", "f"), chain.path("cut", "c")
    where = "cut/c"
    if how == "header":
        flip(cut, cut.read_bytes().index(b"history"))
    elif how in ("cut off", "empty"):
        cut.write_bytes(cut.read_bytes()[: -1 if how == "cut off" else 0])
    else:
        where = "features/f"
        if how == "shard":
            next(features.glob("*.safetensors")).unlink()
        elif how == "index":
            (features / INDEX).write_text("{")
        else:
            (features / INDEX).unlink()
    told = states(chain)
    assert told[where].state == "corrupt"
    assert told[where].reason
    assert "--overwrite" in told[where].repair
    assert told["color/k"].state == "stale"
    assert where in [place for place, _ in found(chain)]


# check


def test_a_whole_project_has_no_findings(chain: Project) -> None:
    assert found(chain, deep=True) == []
    assert sweep(chain) == []


def _leave_behind(project: Project) -> list[Path]:
    """What killed runs leave behind."""
    unplanned = project.root / "features" / ".gone.partial"
    unplanned.mkdir()
    writer = FeatureWriter(project.path("features", "h"), features_recipe("h"), RANGES)
    writer.open()
    paths = [
        project.root / "cut" / ".c.safetensors.99.tmp",
        project.root / "color" / ".new.safetensors.99.tmp",
        writer.partial / f".00000-of-00003.safetensors.{platform.node()}.99999999.tmp",
        project.root / "features" / "f" / PLAN,
    ]
    for path in paths:
        path.write_text("left")
        os.utime(path, (0, 0))  # younger ones could be another machine's
    shutil.copytree(project.path("features", "f"), project.root / "features" / ".f.old")
    return [*paths, unplanned, project.root / "features" / ".f.old"]


def test_leftovers_are_found_and_swept_and_resumable_work_stays(chain: Project) -> None:
    before = (chain.path("cut", "c").read_bytes(), chain.path("features", "f") / INDEX)
    writer = FeatureWriter(chain.path("features", "g"), features_recipe("g"), RANGES)
    writer.open()
    write_shard(writer, 0)
    left = _leave_behind(chain)
    assert sorted(chain.root / where for where, code in found(chain) if code == "leftover") == sorted(left)
    assert all(path.exists() for path in left), "check without --fix removes nothing"
    assert sorted(sweep(chain)) == sorted(left)
    assert not any(path.exists() for path in left)
    assert found(chain, deep=True) == []
    assert writer.missing() == [1, 2]
    assert (chain.path("cut", "c").read_bytes(), chain.path("features", "f") / INDEX) == before


def test_files_of_running_writers_are_let_be(chain: Project) -> None:
    with holder(chain, "cut", "c"):
        temporary = chain.root / "cut" / ".c.safetensors.99.tmp"
        temporary.write_text("in the making")
        assert found(chain) == []
        assert sweep(chain) == []
        assert temporary.exists()
    assert sweep(chain) == [temporary]


def test_a_commit_cut_in_two_is_carried_to_its_end_by_fix(chain: Project) -> None:
    folder = chain.path("features", "f")
    folder.rename(folder.with_name(".f.old"))
    assert states(chain)["features/f"].state == "missing"
    assert sweep(chain) == [folder.with_name(".f.old")]
    assert found(chain, deep=True) == []
    assert chain.names("features") == ["f"]


def test_deep_finds_a_flipped_data_byte_and_no_numbers(chain: Project) -> None:
    shard = chain.path("features", "f") / "00001-of-00003.safetensors"
    flip(shard)
    flip(chain.path("cut", "c"))
    make_cut(chain, "nan", poison=float("nan"))
    assert found(chain) == []
    findings = list(check_project(chain, deep=True))
    assert [(finding.where, finding.code) for finding in findings] == [
        ("features/f", "artifact-corrupt"),
        ("cut/c", "artifact-corrupt"),
        ("cut/nan", "not-finite"),
    ]
    assert shard.name in findings[0].message
    assert findings[0].repair == "alignedcut extract --overwrite photos --name f"


def test_deep_lets_nan_pass_where_the_meaning_says_what_it_is(chain: Project) -> None:
    make_cut(chain, "undefined", poison=float("nan"), meaning="vectors; NaN: undefined")
    make_cut(chain, "infinite", poison=float("inf"), meaning="vectors; NaN: undefined")
    (finding,) = check_project(chain, deep=True)
    assert (finding.where, finding.code) == ("cut/infinite", "not-finite")
    assert finding.message == "infinite.safetensors: eigenvectors holds infinity"


def test_shapes_that_do_not_agree(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another tool may have written them: ours does not."""
    make_features(project)
    with pytest.raises(AssertionError, match="eigenvectors has 6 along M"):
        make_cut(project, "wrong", rows=6, size=7)
    assert not project.path("cut", "wrong").exists()
    monkeypatch.setattr("alignedcut_cli.store.artifact.axis_faults", lambda header: ())
    make_cut(project, "wrong", rows=6, size=7)
    make_cut(project, "fewer", "wrong", kind="color", rows=5)
    assert found(project) == [("cut/wrong", "shape-mismatch"), ("color/fewer", "shape-mismatch")]
    messages = [finding.message for finding in check_project(project, deep=False)]
    assert messages == [
        "eigenvectors has 6 along M, where the artifact has 7",
        "it has 5 along M, its input cut/wrong has 7",
    ]


def test_the_commands_say_the_same(chain: Project, cli: Cli) -> None:
    clean: Run = cli("check", "-p", chain.root, "--deep", "--exit-code")
    assert (clean.status, clean.out) == (0, "everything is whole\n")
    assert cli("status", "-p", chain.root, "--exit-code").status == 0
    flip(chain.path("cut", "c"))
    left = _leave_behind(chain)
    assert cli("check", "-p", chain.root, "--deep").status == 0
    bad: Run = cli("check", "-p", chain.root, "--deep", "--exit-code", "--json")
    assert bad.status == 1
    assert [finding["code"] for finding in bad.object["findings"]] == ["artifact-corrupt"] + ["leftover"] * len(left)
    fixed: Run = cli("check", "-p", chain.root, "--fix", "--json")
    assert (fixed.status, fixed.object["findings"], len(fixed.object["removed"])) == (0, [], len(left))
    chain.path("cut", "c").write_text("")
    worse: Run = cli("status", "-p", chain.root, "--exit-code", "--json")
    assert worse.status == 1
    assert [one["state"] for one in worse.object["artifacts"]] == ["fresh", "partial", "corrupt", "stale"]
    text = cli("status", "-p", chain.root).out
    assert "To mend this, in this order:\n" in text
    assert "\n  alignedcut cut --overwrite --from features/f --name c\n" in text


def test_show_tells_what_the_header_holds(chain: Project, cli: Cli) -> None:
    for reference in ("features/f", "cut/c", "k"):
        shown: Run = cli("show", reference, "-p", chain.root)
        assert shown.status == 0
        header = chain.header(*chain.parse(reference))
        assert header.recipe[:12] in shown.out
        assert header.content[:12] in shown.out
        as_object = cli("show", reference, "-p", chain.root, "--json").object
        assert as_object == {**json.loads(json.dumps(header.raw)), "schema": "alignedcut.show/1"}
    history: Run = cli("show", "color/k", "--history", "-p", chain.root)
    assert [line.split()[0] for line in history.out.splitlines() if not line.startswith(" ")] == [
        "features/f",
        "cut/c",
        "color/k",
    ]


def test_every_error_of_the_store_is_one_of_ours(chain: Project) -> None:
    chain.path("cut", "c").write_bytes(b"\0" * 100)
    with pytest.raises(AlignedcutError):
        chain.header("cut", "c")


def test_status_sees_a_shard_that_was_cut_off(project: Project) -> None:
    make_features(project)
    shard = next(project.path("features", "f").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-5])
    (state,) = project_states(project)
    assert state.state == "corrupt"
    assert "cut off" in state.reason
