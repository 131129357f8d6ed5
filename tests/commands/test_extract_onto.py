"""`extract --onto`: the rows that extract, then cut --onto, give, with no features on the disk; anything else is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from alignedcut_cli.commands.extract.asked import Asked
from alignedcut_cli.commands.extract.sweeps import open_sweeps
from alignedcut_cli.datasets import images
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.photos import Photos
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.main import main
from alignedcut_cli.store import features
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.check import check_project
from alignedcut_cli.store.project import Project
from tests.commands.cut.test_space import write_align
from tests.conftest import TINY, Cli, Run, photograph
from tests.helpers.stores import snapshot

Embed = Callable[..., Run]
FEW = ("--image-size", "32")
CUT = ("cut", "--solver", "lowrank", "--nodes", "60", "-C", "5", "-q")
TWO = ("--from", "features/first", "--from", "features/second-q")
BASES: dict[str, tuple[str, ...]] = {
    "joint": ("--from", "features/first"),
    "slots": ("--from", "features/first", "--layers", "1,4", "--per-slot"),
    "two": (*TWO, "--layers", "2,5"),
    "aligned": (*TWO, "--layers", "2,5", "--space", "aligned"),
    "brain": ("--from", "features/second-q", "--layers", "2,5", "--space", "brain", "--roi", "V1,V4"),
}


@pytest.fixture(scope="module")
def cut(photos: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with cuts of 20 photographs in several spaces; beside it new photographs, and their features. Read only."""
    folder = tmp_path_factory.mktemp("embedding")
    for number in range(10):
        (folder / "new").mkdir(exist_ok=True)
        photograph(100 + number, 40, 30).save(folder / "new" / f"new-{number}.png")
    other = _other_weights(tiny_weights, folder)
    place = ("-p", str(folder / "study"), "-q")
    for name, weights, tap in (("first", tiny_weights, "attn"), ("second-q", other, "q")):
        model = ("-m", TINY, "--weights", str(weights), "--tap", tap, *FEW, *place)
        assert main(["extract", str(photos), *model, "--name", name]) == 0
        assert main(["extract", str(folder / "new"), *model, "--name", f"new-{name}"]) == 0
    project = Project(folder / "study")
    write_align(project, slots=[slot for name in ("second-q", "first") for slot in _slots(project, name)])
    for name, words in BASES.items():
        assert main([*CUT, *words, "--name", name, *place]) == 0
    return folder


def _other_weights(weights: Path, folder: Path) -> Path:
    """Other weights of the tiny model, as after more training."""
    from safetensors.numpy import load_file, save_file

    draws = np.random.default_rng(0)
    state = load_file(weights)
    moved = {key: value + 0.02 * draws.standard_normal(value.shape).astype(value.dtype) for key, value in state.items()}
    save_file(moved, folder / "other.safetensors")
    return folder / "other.safetensors"


def _slots(project: Project, name: str) -> list[dict[str, object]]:
    header = project.header("features", name)
    return [{**slot, "weights": header.raw["external"]["weights"]} for slot in header.axes["S"]["slots"]]


@pytest.fixture
def study(cut: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cut / "study", tmp_path / "study"))


@pytest.fixture
def embed(cli: Cli, cut: Path, study: Path, tiny_weights: Path) -> Embed:
    """Run extract --onto on the new photographs, with the models of that base."""

    def run(base: str, *words: object, weights: Sequence[Path] | None = None) -> Run:
        first, second = (TINY, tiny_weights), (TINY, cut / "other.safetensors")
        models = {"joint": [first], "slots": [first], "brain": [second]}.get(base, [first, second])
        given = [path for _, path in models] if weights is None else weights
        named = [word for path in given for word in ("--weights", path)]
        return cli("extract", cut / "new", "--onto", f"cut/{base}", *named, "-p", study, *words)

    return run


def two_steps(cli: Cli, study: Path, base: str) -> tuple[dict[str, np.ndarray], object]:
    sources = [word.replace("features/", "features/new-") for word in BASES[base] if word.startswith("features/")]
    given = [word for source in sources for word in ("--from", source)]
    assert cli("cut", *given, "--onto", f"cut/{base}", "--name", "steps", "-p", study).status == 0
    header, tensors = load_tensors(study / "cut" / "steps.safetensors")
    return tensors, header.axes


@pytest.mark.parametrize("base", BASES)
def test_the_rows_are_those_of_extract_then_cut_onto(cli: Cli, embed: Embed, study: Path, base: str) -> None:
    run = embed(base, "--name", "once", "--json")
    assert run.status == 0, run.err
    assert run.object["artifacts"][0]["kind"] == "cut"
    header, once = load_tensors(study / "cut" / "once.safetensors")
    steps, axes = two_steps(cli, study, base)
    assert header.axes == axes
    assert once.keys() == steps.keys()
    for name in once.keys() - {"eigenvectors"}:
        np.testing.assert_array_equal(once[name], steps[name])
    assert np.abs(steps["eigenvectors"]).max() > 0.01
    np.testing.assert_allclose(once["eigenvectors"], steps["eigenvectors"], rtol=0, atol=2e-6)
    assert "other_weights" not in header.params and header.params["onto"] is True
    assert not list(study.glob("*/.*.parts"))
    assert [found for found in check_project(Project(study), deep=True) if "once" in found.where] == []


def test_features_are_rounded_as_extract_stores_them(cli: Cli, embed: Embed, study: Path) -> None:
    """Without the rounding to float16 rows differ by more than the tolerance above: it can fail."""
    assert embed("joint", "--name", "once").status == 0
    once = load_tensors(study / "cut" / "once.safetensors")[1]["eigenvectors"]
    with pytest.MonkeyPatch.context() as patch:
        from alignedcut_cli.backbones import pipeline

        patch.setitem(pipeline.DTYPES, "float16", pipeline.DTYPES["float32"])
        assert embed("joint", "--name", "exact").status == 0
    exact = load_tensors(study / "cut" / "exact.safetensors")[1]["eigenvectors"]
    assert np.abs(once - exact).max() > 2e-6


def test_shares_in_any_order_and_a_run_that_was_killed_give_the_same_bytes(
    embed: Embed, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SHARD_BYTES", 1)  # ranges of 8 and 2 images: 4 tasks of two models
    assert embed("two", "--name", "made").status == 0
    path = study / "cut" / "made.safetensors"
    whole = path.read_bytes()
    path.unlink()
    for job, left in ((3, 3), (1, 2), (2, 1)):
        run = embed("two", "--name", "made", "--shard", f"{job}/4", "--json")
        assert run.status == 0, run.err
        assert run.object["artifacts"][0]["left"] == left
    parts = study / "cut" / ".made.parts"
    names = sorted(parts.glob("rows-*.safetensors"))
    assert len(names) == 3 and not path.exists()
    names[0].write_bytes(names[0].read_bytes()[:-1])
    (parts / "rows").write_bytes(b"half of a file")
    assert embed("two", "--name", "made").status == 0
    assert path.read_bytes() == whole
    assert not parts.exists()
    run = embed("two", "--name", "made", "--shard", "4/4")
    assert run.out == "cut/made is up to date\n"


def test_a_worker_plans_without_decoding_or_writing(
    embed: Embed, cut: Path, study: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SHARD_BYTES", 1)  # two tasks
    assert embed("joint", "--name", "made").status == 0
    assert embed("joint", "--name", "again", "--shard", "2/2").status == 0
    before = snapshot(study)
    monkeypatch.setattr(images, "_inspect", lambda path: pytest.fail(f"{path} is decoded"))
    asked = Asked(images=(str(cut / "new"),), weights=(tiny_weights,), name=("again",), project=study, onto="cut/joint")
    frame = Frame(Project(study), Output("extract", quiet=True), ("extract",))
    ((recipe, (sweep,)),) = open_sweeps(frame, asked)
    assert snapshot(study) == before
    assert sweep.missing() == [0]
    sweep.run([0], lambda _: None)
    assert sweep.missing() == []
    assert embed("joint", "--name", "again").status == 0
    assert Project(study).header("cut", "again").content == Project(study).header("cut", "made").content
    assert Project(study).header("cut", "again").recipe == recipe.identity


def test_the_base_needs_none_of_its_features(embed: Embed, study: Path) -> None:
    shutil.rmtree(study / "features")
    assert embed("joint", "--name", "made").status == 0
    run = embed("joint", "--name", "made")
    assert run.status == 0 and "cut/made is up to date" in run.err


def test_another_checkpoint_is_refused_unless_it_is_asked_for(cli: Cli, embed: Embed, cut: Path, study: Path) -> None:
    other = cut / "other.safetensors"
    run = embed("slots", "--name", "later", weights=[other])
    assert run.status == 65 and f"--model {TINY} has other weights than features/first" in run.err
    assert "--other-weights" in run.err
    for words in ((), ("--other-weights",)):
        assert embed("slots", "--name", f"of{len(words)}", *words, weights=[other] if words else None).status == 0
    same, later = (load_tensors(study / "cut" / f"of{n}.safetensors") for n in (0, 1))
    assert later[0].params["other_weights"] is True
    assert later[0].raw["external"]["weights.0"] != same[0].raw["external"]["weights.0"]
    assert np.abs(later[1]["eigenvectors"] - same[1]["eigenvectors"]).max() > 1e-3
    assert embed("slots", "--name", "of0", "--other-weights").err == "alignedcut extract: cut/of0 is up to date\n"


def test_what_comes_after_takes_it_as_it_takes_that_of_cut_onto(cli: Cli, embed: Embed, cut: Path, study: Path) -> None:
    assert embed("joint", "--name", "made").status == 0
    for words in (
        ("color", "--from", "cut/joint", "--nodes", "60", "--perplexity", "5", "--no-pictures"),
        ("color", "--from", "cut/made", "--onto", "color/joint"),
        ("show", "cut/made"),
        ("report", "--from", "color/made", "--name", "made"),
    ):
        run = cli(*words, "-p", study)
        assert run.status == 0, run.err
        assert "gone or has changed" not in run.err
    assert list((study / "pictures" / "color" / "made").glob("*.png"))
    states = {
        one["name"]: one for one in cli("status", "-p", study, "--json").object["artifacts"] if one["kind"] == "cut"
    }
    assert states["made"]["state"] == "fresh"
    frame = Frame(Project(study), Output("color"), ("color",))
    assert Photos(frame, Project(study).header("color", "made"), None)(0) is not None
    masks = study / "masks"
    masks.mkdir()
    from PIL import Image

    for path in (cut / "new").iterdir():
        Image.fromarray(np.tile(np.uint8([[0, 1]]), (30, 20))).save(masks / path.name)
    given = ("segment", "--from", "cut/made", "--masks", masks, "--eigenvectors", "3", "--no-pictures")
    run = cli(*given, "-p", study)
    assert run.status == 0, run.err


@pytest.mark.parametrize("command", ["tree", "concepts"])
def test_what_needs_features_says_that_none_were_kept(cli: Cli, embed: Embed, study: Path, command: str) -> None:
    assert embed("joint", "--name", "made").status == 0
    assert (
        cli("color", "--from", "cut/made", "--nodes", "60", "--perplexity", "5", "--no-pictures", "-p", study).status
        == 0
    )
    source = {"tree": ("cut/made", "--eigenvectors", "3"), "concepts": ("color/made",)}[command]
    assert command != "tree" or cli(command, "--from", *source, "--name", "plain", "-p", study).status == 0
    run = cli(command, "--from", *source, "--align", "align/shared", "-p", study)
    assert run.status == 65 and "extract --onto, which keeps no features" in run.err


@pytest.mark.parametrize(
    ("base", "words", "status", "code"),
    [
        ("joint", ("--tap", "q"), 2, "option-contradicts"),
        ("joint", ("--layers", "0,1"), 2, "option-contradicts"),
        ("joint", ("--tokens", "pooled"), 2, "option-contradicts"),
        ("joint", ("--dtype", "float32"), 2, "option-contradicts"),
        ("joint", ("--tap", "maps"), 2, "option-contradicts"),
        ("joint", ("--image-size", "64"), 65, "other-slots"),
        ("joint", ("--model", "test_vit2"), 65, "other-slots"),
        ("two", ("--model", TINY), 2, "other-slots"),
        ("joint", ("--captions", "captions.csv"), 2, "option-idle"),
        ("joint", ("--name", "a", "--name", "b"), 2, "count-mismatch"),
        ("missing", (), 66, "artifact-missing"),
        ("exact", (), 2, "not-extensible"),
    ],
)
def test_what_differs_from_the_base_is_refused(
    cli: Cli, embed: Embed, study: Path, base: str, words: Sequence[str], status: int, code: str
) -> None:
    if base == "exact":
        made = ("cut", "--from", "features/first", "--layers", "0", "-C", "3", "--solver", "exact", "--name", "exact")
        assert cli(*made, "-p", study).status == 0
    weights = [] if base in ("two", "missing", "exact") else None
    run = embed(base, *words, "--json", weights=weights)
    assert run.status == status, run.err
    assert json.loads(run.err.splitlines()[-1])["code"] == code


def test_options_that_say_what_the_base_says_are_welcome(embed: Embed, study: Path) -> None:
    same = ("--tap", "attn", "--layers", "1,4", "--tokens", "all", "--dtype", "float16", "--image-size", "32")
    assert embed("slots", *same, "--model", TINY, "--name", "made").status == 0
    assert embed("slots", "--name", "made").err == "alignedcut extract: cut/made is up to date\n"


def test_a_model_must_be_given_without_a_base(cli: Cli, photos: Path, tmp_path: Path) -> None:
    run = cli("extract", photos, "-p", tmp_path)
    assert run.status == 2 and "Missing option '--model' / '-m'" in run.err
    run = cli("extract", photos, "-m", TINY, "--other-weights", "-p", tmp_path)
    assert run.status == 2 and "--other-weights cannot go without --onto" in run.err


def test_a_dry_run_writes_nothing_and_tells_what_would_be(embed: Embed, study: Path) -> None:
    before = snapshot(study)
    run = embed("two", "--dry-run", "--shard", "1/2", "--name", "made", "--json")
    assert run.status == 0, run.err
    assert snapshot(study) == before
    (output,) = run.object["outputs"]
    assert output["path"].endswith("cut/made.safetensors")
    nodes = 10 * 5 * 4  # images, tokens, slots
    assert output["bytes"] == nodes * (4 * 5 + 16)
    counts = {one["what"]: one["count"] for one in run.object["counts"]}
    assert counts["tasks of rows"] == 1  # of 2, one a model
    assert 0 < counts["bytes of main memory"] < 1 << 26
