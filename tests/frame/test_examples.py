"""Every example in the help texts and the README's tour runs; the README's tables are those of the code."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer

from alignedcut_cli.commands import COMMANDS, demo, module_of, show
from alignedcut_cli.datasets.masks_folder import open_folder
from alignedcut_cli.datasets.samples import sample_data, sample_models
from alignedcut_cli.errors import EXIT_STATUSES
from alignedcut_cli.main import app, main
from alignedcut_cli.store.project import Project
from sample_data.make.brain import write_brain
from tests.conftest import Cli
from tests.helpers.aligning import responses_to, write_csv
from tests.helpers.languages import tiny_language
from tests.helpers.probing import make_probed

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
FEW, SHOWN, RATED = 2, 3, 20
CHAIN = [module_of(name) for name in COMMANDS if name != "demo"]
TABLES = show.tables_by_kind()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, brain_folder: Path, brain_table: Path) -> Path:
    """Where the examples run one after another: a few scenes as photos/ and as alignedcut-demo/scenes/, and responses."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("photos", "alignedcut-demo/scenes"):
        copy_scenes(folder / name)
    copy_scenes(folder / "masks", part="category")
    shutil.copytree(brain_folder, folder / "subj01")
    shutil.copytree(brain_folder, folder / "algonauts" / "subj01")
    shutil.copy(brain_table, folder)
    shutil.copy(sample_data() / "scenes" / "captions.csv", folder)
    tiny_language(folder / "minilm", "bert")
    return folder


@pytest.fixture(scope="module")
def aligning(tmp_path_factory: pytest.TempPathFactory, brain_folder: Path) -> Path:
    """Where the examples of align run: a subject, responses to enough scenes, and a project with the features of both."""
    folder = tmp_path_factory.mktemp("aligning")
    shutil.copytree(brain_folder, folder / "algonauts" / "subj01")
    copy_scenes(folder / "photos", RATED)
    names = sorted(path.name for path in (folder / "photos").iterdir())
    write_csv(folder / "responses.csv", names, responses_to(names))
    place = ("--tokens", "sample:4", "-p", str(folder / "study"), "-q")
    models = ("--model", "tiny-clip", "--model", "tiny-mae", "--name", "brain-clip", "--name", "brain-mae")
    assert main(["extract", str(folder / "algonauts"), *models, *place]) == 0
    assert main(["extract", str(folder / "photos"), "--model", "tiny-clip", *place]) == 0
    return folder


@pytest.fixture(scope="module")
def meaning(tmp_path_factory: pytest.TempPathFactory, brain_folder: Path) -> Path:
    """Where the examples of concepts run: a project with a cut, its colours and an alignment, and masks of its scenes."""
    folder = tmp_path_factory.mktemp("meaning")
    copy_scenes(folder / "photos", 3)
    shutil.copytree(sample_data() / "scenes" / "category", folder / "masks")
    place = ("-p", str(folder / "study"), "-q")
    model = ("-m", "tiny-clip", "--layers", "3,5", *place)
    assert main(["extract", str(brain_folder), "--name", "seen", "--tokens", "sample:4", *model]) == 0
    assert main(["extract", str(folder / "photos"), *model]) == 0
    seen = ("--brain", str(brain_folder), "--from", "features/seen", "--epochs", "1", "--no-pictures")
    assert main(["align", *seen, "--name", "world", *place]) == 0
    assert main(["cut", "--from", "features/tiny-clip", "--space", "aligned", "--name", "tiny-clip", *place]) == 0
    assert main(["color", "--nodes", "50", "--no-pictures", *place]) == 0
    return folder


@pytest.fixture(scope="module")
def probing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples of probe run: embeddings, labels, queries, and responses as a csv."""
    folder = tmp_path_factory.mktemp("probing")
    make_probed(folder)
    held = np.load(folder / "brain.npz")
    write_csv(folder / "responses.csv", held["images"].tolist(), held["responses"])
    return folder


PLACES = {"align": "aligning", "concepts": "meaning", "score": "aligning", "probe": "probing"}
"""The fixtures where examples run that need more than what the other examples leave behind."""


def copy_scenes(folder: Path, count: int = FEW, part: str = "images") -> None:
    folder.mkdir(parents=True)
    for path in sorted((sample_data() / "scenes" / part).iterdir())[:count]:
        shutil.copy(path, folder)


def run_line(cli: Cli, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line of shell: `alignedcut …`, or `ls PATTERN | alignedcut …`."""
    before, _, after = line.rpartition("|")
    if before:
        pattern = before.split()[1]
        listed = "".join(f"{path}\n" for path in sorted(Path().glob(pattern)))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
    words = shlex.split(after)
    assert words[0] == "alignedcut"
    run = cli(*words[1:], *([] if "--json" in words else ["-v"]))
    assert run.status == 0, f"{line}\n{run.err}"
    assert run.out.strip()


@pytest.mark.parametrize("module", CHAIN, ids=lambda module: module.NAME)
def test_the_examples_of_the_help_run(
    module: object, cli: Cli, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(request.getfixturevalue(PLACES.get(module.NAME, "workplace")))  # type: ignore[attr-defined]
    examples = module.EXAMPLES  # type: ignore[attr-defined]
    assert len(examples) >= 2
    for line in [*getattr(module, "BEFORE", ()), *examples]:
        run_line(cli, line, monkeypatch)


def test_the_tour_of_the_readme_runs(cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    tour = README.split("## A tour in five minutes")[1].split("## Your own photographs")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", tour, re.S) for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        run_line(cli, line, monkeypatch)
    assert list(Path("tour/pictures/color/tiny-clip").glob("sheet-*.png"))


def test_the_demo_runs_prints_its_commands_and_is_then_up_to_date(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a few scenes: all shipped models, every step said before it runs, nothing left to do the second time."""
    small = tmp_path / "data"
    for part in ("images", "category"):
        copy_scenes(small / "scenes" / part, SHOWN, part)
    shutil.copy(sample_data() / "scenes" / "names.json", small / "scenes")
    monkeypatch.setattr(demo, "sample_data", lambda: small)
    monkeypatch.setattr(demo, "sample_brain", lambda: functools.partial(write_brain, training=160, test=20))
    monkeypatch.chdir(tmp_path)
    for name in (".alignedcut", "cut"):
        (tmp_path / "alignedcut-demo" / name).mkdir(parents=True)
    earlier = tmp_path / "alignedcut-demo" / "cut" / "earlier.safetensors"
    earlier.write_bytes(b"of an earlier demo")
    monkeypatch.setenv("COLUMNS", "60")
    first = cli("demo", "--fresh")
    assert first.status == 0, first.err
    assert not earlier.exists()
    copied = Path(shutil.copytree("alignedcut-demo/masks/category", tmp_path / "mymasks"))
    names = json.loads((sample_data() / "scenes/names.json").read_text())["category"]
    assert open_folder(copied).names == dict(enumerate(names))
    for line in demo.chain(Path("alignedcut-demo"), "auto"):
        assert f"$ alignedcut {shlex.join(line.argv)}\n" in first.err
    listing, ending = (part.splitlines() for part in first.out.split("Open this one file in a browser:\n"))
    assert len(listing) == len(demo.chain(Path(), "auto")) + 3
    assert max(map(len, listing)) <= 60
    assert sum(line.startswith("extract alignedcut-demo/scenes --model tiny-clip ") for line in listing) == 2
    assert not any(" -p " in line for line in listing)
    page = Path(ending[0])
    assert page == Path("alignedcut-demo/reports/demo.html")
    assert page.stat().st_size <= 8_000_000
    chapters = page.read_text(encoding="utf-8")
    for heading in ("Encoding scores of score/world", "What and where in pathways/what-where", "Paths of trace/joint"):
        assert heading in chapters
    second = cli("demo", "--json")
    assert second.status == 0
    require_tables(cli, Path("alignedcut-demo"))
    assert second.err.count("is up to date") == 4 * len(sample_models()) + 16
    assert all(Path(path).is_file() for path in second.object["pictures"])
    assert sum("sheet-" in path for path in second.object["pictures"]) == 2 * len(sample_models()) + 2
    assert second.object["page"] == str(page)
    assert [Path(one["path"]).is_file() for one in second.object["worth_opening"]] == [True] * len(demo.WORTH_OPENING)
    assert {one["command"] for one in second.object["steps"]} == {
        shlex.join(["alignedcut", *line.argv]) for line in demo.chain(Path("alignedcut-demo"), "auto")
    }


def require_tables(cli: Cli, folder: Path) -> None:
    """Every table of the first artifact of each kind can be exported, those drawn as csv with the same rows."""
    project = Project(folder)
    for kind, offers in TABLES.items():
        for name in project.names(kind)[:1]:
            there = [table for table, offer in offers.items() if offer.is_there(project.header(kind, name))]
            assert there[:1] == list(offers)[:1]
            for table in there:
                path = folder / f"{kind}-{table}.csv"
                run = cli("show", f"{kind}/{name}", "--export", path, "--table", table, "-p", folder, "--json")
                assert run.status == 0, run.err
                with path.open(newline="") as stream:
                    rows = list(csv.DictReader(stream))
                assert len(rows) == run.object["rows"] > 0
                assert list(rows[0]) == run.object["columns"]
                drawn = project.pictures(kind, name) / f"{table}.csv"
                if drawn.is_file():
                    with drawn.open(newline="") as stream:
                        assert [row.keys() for row in csv.DictReader(stream)] == [row.keys() for row in rows]


def test_the_demo_touches_no_folder_that_is_not_its_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    run = cli("demo", tmp_path, "--fresh")
    assert run.status == 2
    assert "is no alignedcut project and not empty" in run.err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_readme_lists_every_option_of_every_command() -> None:
    for name, found in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        section = README.split(f"### `alignedcut {name}`")[1].split("\n###")[0].split("\n## ")[0]
        listed = set(re.findall(r"`(--?[a-z][a-z-]*|-[A-Za-z])`", section.replace("`, `", "` `")))
        options = {
            word for parameter in found.params if parameter.name != "help" for word in parameter.opts if word[0] == "-"
        }
        options |= {word for parameter in found.params for word in parameter.secondary_opts}
        assert options <= listed, f"{name}: {options - listed} are not in the README"
        rows = {row.split("`")[1] for row in section.splitlines() if row.startswith("| `-")}
        assert rows <= options, f"{name} has no {rows - options}"


def test_the_readme_lists_every_table_that_show_exports() -> None:
    section = README.split("### `alignedcut show`")[1].split("\n###")[0]
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", section.split("| kind |")[1], re.M))
    assert set(rows) == set(TABLES)
    for kind, tables in TABLES.items():
        listed = re.findall(r"\w+", rows[kind])
        assert set(tables) <= set(listed) and listed[0] == next(iter(tables)), kind


def test_the_readme_lists_the_exit_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.M)
    assert {int(code): meaning for code, meaning in rows} == EXIT_STATUSES


def test_the_readme_gives_the_two_commands() -> None:
    assert "pip install uv && uv run alignedcut demo" in README
    assert "uv run pytest" in README
    assert (Path(__file__).parents[2] / "sample_data/pictures/demo.png").is_file()
