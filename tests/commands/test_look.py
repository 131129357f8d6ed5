"""`alignedcut look`: the commands that it stands for, in the order in which they depend on each other."""

from __future__ import annotations

import contextlib
import html
import json
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from alignedcut_cli.commands.look.asked import Asked
from alignedcut_cli.commands.look.chain import chain
from alignedcut_cli.errors import printable
from alignedcut_cli.frame.options import project_argument
from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import read_header
from alignedcut_cli.store.project import Project, check_name
from tests.conftest import Cli, photograph
from tests.helpers.frames import read
from tests.helpers.stores import make_cut, make_features

STUDY = Path("my study")
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE = (
    "-rf.png", "<img src=x onerror=alert(3)>.png", "two\nlines.png", "\x1b[31mred.png", "';--=1+1 %s ${x} \u202egnp.png",
    "\udcff.png",
)  # fmt: skip
"""Names of photographs, of which any program may make something else; the last is not in UTF-8."""


def lines(align: str | None = None, images: tuple[str, ...] = ("photos",), **given: Any) -> list[list[str]]:
    return chain(Asked(images=images, project=STUDY, **{"model": ("tiny-clip", "tiny-dino"), **given}), align)


def told(**given: Any) -> list[str]:
    """The command lines, without the project."""
    return [shlex.join(line).replace(" -p 'my study'", "") for line in lines(**given)]


def test_each_layer_of_each_model_is_cut_alone() -> None:
    assert told() == [
        "extract photos --model tiny-clip --model tiny-dino",
        "cut --from features/tiny-clip --per-slot",
        "cut --from features/tiny-dino --per-slot",
        "color --from cut/tiny-clip-per-slot --no-pictures",
        "color --from cut/tiny-dino-per-slot --no-pictures",
        "report --from color/tiny-clip-per-slot --from color/tiny-dino-per-slot --name tiny-clip+tiny-dino",
    ]


def test_with_a_brain_all_layers_of_all_models_are_cut_as_one(tmp_path: Path) -> None:
    brain = tmp_path / "subj 01"
    brain.mkdir()
    name = "tiny-clip+tiny-dino-subj-01"
    wanted = [
        "extract photos --model tiny-clip --model tiny-dino",
        f"extract '{brain}' --model tiny-clip --model tiny-dino --name tiny-clip-subj-01 --name tiny-dino-subj-01 "
        "--tokens sample:16",
        f"align --brain '{brain}' --from features/tiny-clip-subj-01 --from features/tiny-dino-subj-01 --name {name}",
        f"cut --from features/tiny-clip --from features/tiny-dino --space aligned --align {name} --name {name}",
        f"color --from cut/{name} --no-pictures",
        f"report --from color/{name} --name {name}",
    ]
    assert told(brain=brain) == wanted
    images = told(brain=brain, subject=1, brain_images=Path("seen"))
    assert images[1].startswith("extract seen --model tiny-clip --model tiny-dino --name tiny-clip-subj-01-1 ")
    assert f"align --brain '{brain}' --subject 1 --from features/tiny-clip-subj-01-1 " in images[2]


def test_a_table_of_responses_is_to_the_photographs_themselves(tmp_path: Path) -> None:
    table = tmp_path / "responses.csv"
    table.touch()
    found = told(brain=table, model=("tiny-mae",))
    assert [line.split()[0] for line in found] == ["extract", "align", "cut", "color", "report"]
    assert found[1] == f"align --brain {table} --from features/tiny-mae --name tiny-mae-responses"
    assert told(brain=table, brain_images=Path("seen"))[1].startswith("extract seen ")


def test_options_reach_the_steps_that_take_them() -> None:
    found = lines(
        weights=("a.pth", "random"), name="mine", title="-x $(y)", show=True, device="cpu", overwrite=True,
        images=("-rf.png", "b.png"),
    )  # fmt: skip
    assert all(project_argument(line) == STUDY and "--overwrite" in line for line in found)
    assert [line[0] for line in found if "--device" not in line] == ["report"]
    assert found[0][-3:] == ["--", "-rf.png", "b.png"] and "--weights" in found[0]
    assert found[0][found[0].index("--name") :][:4] == ["--name", "mine-tiny-clip", "--name", "mine-tiny-dino"]
    page = found[-1]
    assert (
        page[page.index("--title") + 1] == "-x $(y)"
        and page[page.index("--name") + 1] == "mine"
        and page[-1] == "--open"
    )
    assert lines(images=("-",))[0][1] == "-"


def test_every_name_can_name_an_artifact() -> None:
    odd = ("open_clip:ViT-B-32/laion2b", *(f"vit_small_patch16_224.tag{number}" for number in range(30)))
    for line in lines(model=odd, brain=Path("brain data (v2)/sujet é.csv")):
        assert all(check_name(line[place + 1]) for place, word in enumerate(line) if word == "--name")


WRONG = [
    (("--model", "tiny-clip", "--model", "tiny-clip"), 2, "name-twice"),
    (("--model", "tiny-clip", "--brain", "b.csv", "--align", "world"), 2, "option-contradicts"),
    (("--model", "tiny-clip", "--subject", "1"), 2, "option-idle"),
    (("--model", "a b"), 2, "bad-model"),
    (("--model", "tiny-clip", "--name", "a/b"), 2, "bad-name"),
    (("--model", "tiny-clip", "--align", "cut/c"), 2, "wrong-kind"),
    (("--model", "tiny-clip", "--align", "none.safetensors"), 66, "artifact-missing"),
    (("--model", "tiny-clip", "none/*.png"), 66, "image-missing"),
]


@pytest.mark.parametrize(("argv", "status", "code"), WRONG, ids=lambda one: one if isinstance(one, str) else None)
def test_what_cannot_be_looked_at(cli: Cli, tmp_path: Path, argv: tuple[str, ...], status: int, code: str) -> None:
    run = cli("look", *([] if "none/*.png" in argv else ["photos"]), *argv, "-p", tmp_path / "new")
    assert (run.status, run.out) == (status, "")
    assert run.err.splitlines()[-1].startswith("alignedcut look: ") and f"[{code}, exit {status}]" in run.err
    assert not (tmp_path / "new").exists()


def test_an_alignment_from_elsewhere_is_copied_into_the_project_once(cli: Cli, tmp_path: Path) -> None:
    elsewhere, study = Project(tmp_path / "elsewhere").create(), Project(tmp_path / "study")
    make_features(elsewhere)
    make_cut(elsewhere)
    make_cut(elsewhere, "world", "c", kind="align")
    file = elsewhere.path("align", "world")
    argv = ("look", tmp_path / "none", "--model", "tiny-clip", "-p", study.root)
    assert cli(*argv, "--align", file, "--dry-run").out.count("--align world") == 1
    assert not study.root.exists()
    for _ in range(2):
        run = cli(*argv, "--align", file)
        assert run.status == 66 and "image-missing" in run.err
        assert read_header(study.path("align", "world")).content == read_header(file).content
    assert f"copied {file}" not in run.err
    other = Path(shutil.copy(elsewhere.path("cut", "c"), tmp_path / "c.safetensors"))
    assert "[wrong-kind, exit 65]" in cli(*argv, "--align", other).err
    make_cut(elsewhere, "two", "c", kind="align", rows=9)
    other = Path(shutil.copy(elsewhere.path("align", "two"), tmp_path / "world.safetensors"))
    assert "[output-exists, exit 73]" in cli(*argv, "--align", other).err


class Markup(HTMLParser):
    """The start tags of a page, and its inert JSON by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.json: dict[str, Any] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, about = self.tags[-1] if self.tags else ("", {})
        if tag == "script" and about.get("type") == "application/json" and data.strip():
            self.json.setdefault(str(about["id"]), json.loads(data))


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where someone looked at photographs with hostile names, through a model, under a hostile title."""
    folder = tmp_path_factory.mktemp("looked")
    for number, name in enumerate(HOSTILE):
        photograph(number).save(folder / name)
    with contextlib.chdir(folder):
        assert main(["look", f"{folder}/*.png", "-m", "tiny-dino", "--title", EVIL, "-p", "study", "-q"]) == 0
    return folder


def test_hostile_names_stay_names_on_the_page(cli: Cli, looked: Path) -> None:
    """Whatever a photograph or the title is called, there is no markup and no script beside the page's own."""
    page = (looked / "study" / "reports" / "tiny-dino.html").read_text(encoding="utf-8")
    found = Markup(page)
    folder = looked.name.upper()
    assert f"alignedcut extract \"${folder}\"/'*.png' --model tiny-dino -p study\n" in html.unescape(page)
    assert f"set {folder} to the path of {looked.name}" in page
    assert [about.get("type") for tag, about in found.tags if tag == "script"].count("application/json") == len(
        found.json
    )
    assert sum(tag == "script" and about.get("type") != "application/json" for tag, about in found.tags) == 1
    assert not [name for _, about in found.tags for name in about if name.startswith("on")]
    sources = [str(about["src"]) for tag, about in found.tags if tag == "img" and about.get("src")]
    assert all(source.startswith("data:image/") for source in sources)
    assert any("Content-Security-Policy" in about.values() for tag, about in found.tags if tag == "meta")
    header = found.json["header"]
    assert header["params"]["title"] == EVIL
    assert sorted(header["shown"]) == sorted(map(printable, HOSTILE))


def test_a_second_look_does_nothing_and_prints_the_page_alone(
    cli: Cli, looked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(looked)
    again = cli("look", "*.png", "-m", "tiny-dino", "--title", EVIL, "-p", "study")
    assert (again.status, again.out) == (0, "study/reports/tiny-dino.html\n")
    assert again.err.count("is up to date") == again.err.count("alignedcut look: $ ") == 4
    assert again.err.isprintable() or set(again.err) - set(filter(str.isprintable, again.err)) == {"\n"}


def test_hostile_names_stay_cells_of_a_table(cli: Cli, looked: Path) -> None:
    for suffix in (".csv", ".npz", ".parquet"):
        path = looked / f"colours{suffix}"
        assert cli("show", "color/tiny-dino-per-slot", "--export", path, "-p", looked / "study").status == 0
        frame = read(path)
        assert set(frame["image"]) == {name.encode("utf-8", "backslashreplace").decode() for name in HOSTILE}
        assert frame["image"].value_counts().nunique() == 1
