"""`extract` shared among jobs and workers: whoever writes the shards, in whatever order, the set has the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from alignedcut_cli.backbones.load import Backbone
from alignedcut_cli.commands.extract import loaded
from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.sweeps import open_sweeps
from alignedcut_cli.datasets import images
from alignedcut_cli.errors import InputMissingError
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store import features
from alignedcut_cli.store.features import PLAN, FeatureWriter
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.project import Project
from tests.conftest import TINY, Cli, Run
from tests.helpers.stores import snapshot

Extract = Callable[..., Run]
TWO_TAPS = ("--tap", "attn", "--tap", "q")
TOKENS = ("pooled", "sample:3", "all")


@pytest.fixture(autouse=True)
def _three_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 20 photographs make shards of 8, 8 and 4 images."""
    monkeypatch.setattr(features, "SHARD_BYTES", 1)


@pytest.fixture
def extract(cli: Cli, photos: Path, tiny_weights: Path) -> Extract:
    def run(project: Path, *words: object) -> Run:
        model = ("-m", TINY, "--weights", tiny_weights, "--image-size", 32, "--name", "t")
        return cli("extract", photos, *model, "-p", project, *words)

    return run


def files(project: Path) -> dict[str, bytes]:
    return {str(path): content for path, (_, content) in snapshot(project / "features").items()}


@pytest.mark.parametrize("tokens", TOKENS)
def test_shares_in_any_order_make_the_bytes_of_one_run(extract: Extract, tmp_path: Path, tokens: str) -> None:
    asked = (*TWO_TAPS, "--tokens", tokens)
    assert extract(tmp_path / "one", *asked).status == 0
    order = list(permutations((1, 2, 3)))[TOKENS.index(tokens) + 2]
    for done, job in enumerate(order, 1):
        run = extract(tmp_path / "jobs", *asked, "--shard", f"{job}/3", "--json")
        assert run.status == 0, run.err
        assert [one["left"] for one in run.object["artifacts"]] == [3 - done] * 2
        assert Project(tmp_path / "jobs").names("features") == []
    assert extract(tmp_path / "jobs", *asked).status == 0
    assert files(tmp_path / "jobs") == files(tmp_path / "one")
    run = extract(tmp_path / "jobs", *asked, "--shard", "1/3")
    assert run.out == "features/t is up to date\nfeatures/t-q is up to date\n"


def test_what_killed_jobs_left_is_made_by_the_run_that_finishes(extract: Extract, tmp_path: Path) -> None:
    assert extract(tmp_path / "one").status == 0
    assert extract(tmp_path / "jobs", "--shard", "2/2").status == 0
    partial = tmp_path / "jobs" / "features" / ".t.partial"
    shard = partial / "00001-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    (partial / ".00000-of-00003.safetensors.elsewhere.99.tmp").write_bytes(b"half of a shard")
    run = extract(tmp_path / "jobs")
    assert run.status == 0, run.err
    assert files(tmp_path / "jobs") == files(tmp_path / "one")


def test_a_job_needs_no_lock_and_the_journal_knows_how_to_finish(extract: Extract, tmp_path: Path) -> None:
    project = Project(tmp_path / "study").create()
    with project.writing("features", "t"):
        assert extract(project.root, "--shard", "1/2").status == 0
        assert extract(project.root).status == 75
    told = Journal(project).command("features", "t", overwrite=False)
    assert "--shard" not in told and told.startswith("alignedcut extract ") and "1/2" not in told


def test_a_job_of_other_options_is_refused(extract: Extract, tmp_path: Path) -> None:
    assert extract(tmp_path, "--shard", "1/2").status == 0
    run = extract(tmp_path, "--layers", "0", "--shard", "2/2")
    assert run.status == 73 and "layers" in run.err


def test_shards_of_another_torch_or_device_are_refused_unless_nothing_is_left(extract: Extract, tmp_path: Path) -> None:
    assert extract(tmp_path, "--shard", "1/2").status == 0
    plan = tmp_path / "features" / ".t.partial" / PLAN
    known = json.loads(plan.read_text())
    plan.write_text(json.dumps({**known, "numerics": {**known["numerics"], "device": "cuda", "torch": "1.0"}}))
    for words in (("--shard", "2/2"), ()):
        run = extract(tmp_path, *words)
        assert run.status == 65, run.err
        assert "features/t was begun with torch 1.0, device cuda; this run has torch" in run.err
    plan.write_text(json.dumps(known))
    assert extract(tmp_path, "--shard", "2/2").status == 0


def asked_of(photos: Path, weights: Path, project: Path) -> Asked:
    return Asked(
        images=(str(photos),), model=(TINY,), weights=(weights,), image_size=32, name=("t",), project=project, tap=()
    )


def frame_of(project: Path) -> Frame:
    return Frame(Project(project), Output("extract", quiet=True), ("extract",))


def test_a_worker_plans_without_decoding_or_writing_and_loads_the_model_once(
    extract: Extract, photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shard after shard as a worker does them; the client then has nothing to do but to commit."""
    assert extract(tmp_path / "one").status == 0
    assert extract(tmp_path / "study", "--shard", "3/3").status == 0
    before = snapshot(tmp_path / "study")
    monkeypatch.setattr(images, "_inspect", lambda path: pytest.fail(f"{path} is decoded"))
    asked = asked_of(photos, tiny_weights, tmp_path / "study")
    ((recipe, (sweep,)),) = open_sweeps(frame_of(tmp_path / "study"), asked)
    assert snapshot(tmp_path / "study") == before
    assert recipe.identity == json.loads((tmp_path / "study/features/.t.partial" / PLAN).read_text())["recipe"]
    assert list(sweep.sizes) == [8, 8, 4] and sweep.missing() == [0, 1]
    loads = []
    load = Backbone.load
    monkeypatch.setattr(Backbone, "load", lambda *given: (loads.append(1), load(*given))[1])
    loaded._load.cache_clear()
    done: list[int] = []
    for number in (1, 0, 1):
        sweep.run([number], done.append)
    assert (sweep.missing(), sum(done), len(loads)) == ([], 16, 1)
    monkeypatch.undo()
    monkeypatch.setattr(features, "SHARD_BYTES", 1)
    assert extract(tmp_path / "study").status == 0
    assert files(tmp_path / "study") == files(tmp_path / "one")


def test_a_job_that_comes_late_writes_nothing(
    extract: Extract, photos: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    assert extract(tmp_path, "--shard", "1/3").status == 0
    asked = replace(asked_of(photos, tiny_weights, tmp_path), shard="2/3")
    ((_, (sweep,)),) = open_sweeps(frame_of(tmp_path), asked)
    assert extract(tmp_path).status == 0
    before = files(tmp_path)
    sweep.run([1], lambda _: None)
    assert sweep.missing() == []
    assert files(tmp_path) == before


def test_a_shard_without_a_set_in_the_making_is_refused(tmp_path: Path) -> None:
    from tests.helpers.stores import RANGES, features_recipe, write_shard

    writer = FeatureWriter(Project(tmp_path).path("features", "f"), features_recipe(), RANGES)
    with pytest.raises(InputMissingError, match=PLAN):
        write_shard(writer, 0)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--tap", "maps", "--shard", "1/2"), "no-shards"),
        (("--tap", "maps", "--cluster", "local:2"), "no-shards"),
        (("--captions", "captions.csv", "--shard", "1/2"), "no-shards"),
        (("--shard", "1/2", "--cluster", "local:2"), "option-contradicts"),
        (("--shard", "3/2"), "bad-shard"),
    ],
)
def test_what_cannot_be_shared_is_refused(extract: Extract, tmp_path: Path, words: Sequence[str], code: str) -> None:
    run = extract(tmp_path / "study", *words, "--json")
    assert run.status == 2
    assert json.loads(run.err.splitlines()[-1])["code"] == code
    assert Project(tmp_path / "study").names("features") == []


def test_a_dry_run_tells_tasks_bytes_and_memory(extract: Extract, photos: Path, tmp_path: Path) -> None:
    run = extract(tmp_path / "study", *TWO_TAPS, "--shard", "1/2", "--dry-run", "--json")
    assert run.status == 0
    counts = {one["what"]: one["count"] for one in run.object["counts"]}
    assert counts["tasks of shards"] == 2  # of 3, the first and the last
    assert counts["bytes read"] == sum(path.stat().st_size for path in photos.rglob("*.png")) * 2 // 3
    assert counts["bytes of main memory"] == run.object["memory"] > 1e6
    assert not (tmp_path / "study").exists()


@pytest.fixture
def workers() -> Iterator[str]:
    """The address of a scheduler with two workers, which are threads of this process, so that they see its patches."""
    distributed = pytest.importorskip("distributed")
    given = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(processes=False, protocol="tcp://", **given) as cluster:
        yield cluster.scheduler_address


def test_workers_of_a_cluster_make_the_bytes_of_one_run(
    extract: Extract, cli: Cli, photos: Path, tiny_weights: Path, tmp_path: Path, workers: str
) -> None:
    """Two taps in one pass, one of which is there already; then an embedding of the same images."""
    one, shared = tmp_path / "one", tmp_path / "shared"
    for project in (one, shared):
        assert extract(project, "--tap", "attn").status == 0
        cut = ("cut", "--from", "features/t", "--solver", "lowrank", "--nodes", 40, "-C", 4, "--name", "t")
        assert cli(*cut, "-p", project).status == 0
    embedding = ("--onto", "cut/t", "--weights", tiny_weights, "--name", "t-onto")
    for project, more in ((one, ()), (shared, ("--cluster", workers))):
        assert extract(project, *TWO_TAPS, *more).status == 0
        run = cli("extract", photos, *embedding, "-p", project, *more)
        assert run.status == 0, run.err
    assert files(shared) == files(one)
    assert (shared / "cut/t-onto.safetensors").read_bytes() == (one / "cut/t-onto.safetensors").read_bytes()
