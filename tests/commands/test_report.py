"""`alignedcut report`: what the page holds, says and hides; its budget; when it is stale; hostile names; errors."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors, write_artifact
from alignedcut_cli.store.header import Recipe
from alignedcut_cli.store.project import Project
from tests.conftest import Cli
from tests.helpers.studies import figure_of, make_study

HOSTILE = "<img src=x onerror=alert(1)>.jpg"
NAMES = ["a.jpg", HOSTILE, "below/</script><b>.jpg", "d'\"&.jpg", "e{{7*7}}.jpg", "f.jpg"]
CLASSES = ("ground", "<script>alert(2)</script>")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of hostile names with a page of it, made by the command line. Read only."""
    project = make_study(tmp_path_factory.mktemp("report"), NAMES, {"one": 3, "two": 2}, classes=CLASSES)
    title = "</title><script>alert(3)</script>"
    assert main(["report", "-p", str(project.root), "--title", title, "-q"]) == 0
    return project


def text_of(project: Project, name: str = "report") -> str:
    return project.path("reports", name).read_text(encoding="utf-8")


def model_of(project: Project, name: str = "report") -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="model">(.*?)</script>', text_of(project, name), re.S)
    assert found
    return json.loads(found[1])


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(gzip.decompress(base64.b64decode(text)), kind)


class Elements(HTMLParser):
    """All start tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_carries_the_eigenvectors_of_what_it_shows(study: Project) -> None:
    model = model_of(study)
    header, tensors = load_tensors(study.path("cut", "joint"))
    (lens,) = model["lenses"]
    assert [one["name"] for one in model["images"]] == NAMES
    patches = tensors["nodes"][:, 2] >= 0
    exact = tensors["eigenvectors"][patches]
    code = lens["codes"][0]
    data = unpacked(code["data"], "i1").reshape(code["columns"], lens["nodes"])
    assert np.abs(data.T * np.array(code["scale"]) - exact).max() <= np.abs(exact).max() / 250
    rows = (data.T * np.array(code["scale"])).astype(np.float64)
    cosines = [x @ x[40] / np.linalg.norm(x, axis=1) / np.linalg.norm(x[40]) for x in (rows, exact.astype(np.float64))]
    assert np.abs(cosines[0] - cosines[1]).max() <= code["spaces"][0]["cost"] + 0.01 < 0.043
    views = {view["title"]: view for view in lens["views"]}
    rgb = unpacked(views["Colours (t-SNE)"]["data"], "u1").reshape(3, -1)
    assert (load_tensors(study.path("color", "joint"))[1]["rgb"][patches] == rgb.T).all()
    segments = next(view for view in lens["views"] if view["kind"] == "labels")
    assert segments["names"] == list(CLASSES)
    sides = unpacked(segments["data"], "<i2").reshape(5, len(NAMES), 8, 8)
    assert (sides == figure_of((8, 8))).all()
    assert header.axes["M"]["size"] > lens["nodes"] == patches.sum()


def test_hostile_names_stay_text(study: Project) -> None:
    text = text_of(study)
    elements = Elements(text).found
    scripts = [attributes for tag, attributes in elements if tag == "script"]
    assert [one.get("id") or one.get("type") for one in scripts] == ["header", "model", "module"]
    assert not [tag for tag, _ in elements if tag in ("b", "iframe", "object", "embed", "form", "base")]
    for tag, attributes in elements:
        assert not [key for key in attributes if key.startswith("on") or key == "style"], (tag, attributes)
        for key in ("src", "href"):
            assert (attributes.get(key) or "data:").startswith(("data:", "#")), (tag, attributes)
    assert "alert(3)" in text and "<script>alert" not in text
    assert "&lt;script&gt;alert(2)" in text or "\\u003cscript>alert(2)" in text


def test_the_policy_admits_this_script_and_this_style_alone(study: Project) -> None:
    text = text_of(study)
    policy = next(a["content"] for tag, a in Elements(text).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and "default-src 'none'" in policy and "unsafe" not in policy
    for pattern, source in (
        (r'<script type="module">(.*)</script></body>', "script-src"),
        (r"<style>(.*?)</style>", "style-src"),
    ):
        inside = re.search(pattern, text, re.S)
        assert inside
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_without_scripts_sheets_curves_and_tables_are_there(study: Project) -> None:
    text = text_of(study)
    assert "Where scripts are off" in text
    assert text.count('class="pixels"') == 2 * len(NAMES)
    assert "mIoU of classes (5 rows)" in text
    assert "Mean intersection" in text or "mean intersection over union" in text


def test_methods_commands_and_references_are_those_of_the_artifacts(study: Project) -> None:
    text = text_of(study)
    header = study.header("cut", "joint")
    assert f"{header.axes['M']['size']:,} nodes ({len(NAMES)} photographs, 5 slots)" in text
    assert "cosine similarity in raw space and cut to 6 eigenvectors" in text
    assert "@article{shi2000normalized," in text and "@article{maaten2008visualizing," in text
    assert "alignedcut cut --name joint -p" in text
    assert "zhang2023deciphering" not in text


def test_no_path_of_this_machine_is_told(study: Project) -> None:
    text = text_of(study)
    assert str(study.root) not in text and str(study.root.parent) not in text
    assert "alignedcut cut --name joint -p &quot;$PROJECT&quot;" in text
    assert "${PROJECT:?set PROJECT to the path of the project}" in text


def test_a_second_run_is_up_to_date_and_the_same_bytes_come_again(cli: Cli, study: Project, tmp_path: Path) -> None:
    place = ("-p", study.root, "--title", "t")
    first = cli("report", *place, "--name", "again")
    before = study.path("reports", "again").read_bytes()
    second = cli("report", *place, "--name", "again", "--json")
    assert first.status == second.status == 0
    assert second.object["made"] is False
    assert "is up to date" in second.err
    study.path("reports", "again").unlink()
    assert cli("report", *place, "--name", "again").status == 0
    assert study.path("reports", "again").read_bytes() == before
    other = cli("report", *place, "--name", "again", "--images", 2)
    assert other.status == 73
    assert "images: None there, 2 asked" in other.err
    assert cli("report", *place, "--name", "again", "--images", 2, "--overwrite").status == 0
    assert len(model_of(study, "again")["images"]) == 2


def test_the_page_is_stale_when_an_input_changed(cli: Cli, tmp_path: Path) -> None:
    project = make_study(tmp_path, ["a.jpg", "b.jpg"], {"one": 2})
    assert cli("report", "-p", project.root).status == 0
    assert cli("status", "-p", project.root, "--exit-code").status == 0
    make_study(tmp_path, ["a.jpg", "b.jpg"], {"one": 2}, noise=0.5)
    run = cli("status", "-p", project.root, "--json")
    states = {f"{one['kind']}/{one['name']}": one for one in run.object["artifacts"]}
    assert states["reports/report"]["state"] == "stale"
    assert "has changed since" in states["reports/report"]["reason"]
    assert "alignedcut report --overwrite" in states["reports/report"]["repair"]
    assert cli("show", "reports/report", "-p", project.root).status == 0


def test_what_is_stale_is_said_on_the_page(cli: Cli, tmp_path: Path) -> None:
    project = make_study(tmp_path, ["a.jpg", "b.jpg"], {"one": 2}, classes=("no", "yes"))
    header = project.header("color", "joint")
    make_study(tmp_path / "other", ["a.jpg", "b.jpg"], {"one": 2}, noise=0.6)
    shutil.copy(tmp_path / "other/study/cut/joint.safetensors", project.path("cut", "joint"))
    assert cli("report", "-p", project.root).status == 0
    text = text_of(project)
    assert "2 of 3 artifacts were not fresh when this page was made" in text
    assert "color/joint is stale: its input cut/joint has changed since" in text
    assert not model_of(project)["lenses"][0]["views"], f"{header.name} is of another cut"


def test_the_budget_is_kept_and_what_was_left_out_is_said(cli: Cli, tmp_path: Path) -> None:
    names = [f"{number:03d}.jpg" for number in range(40)]
    project = make_study(tmp_path, names, {"one": 6, "two": 6}, (14, 14), columns=12)
    run = cli("report", "-p", project.root, "--budget", "900KB", "--json")
    assert run.status == 0, run.err
    size = project.path("reports", "report").stat().st_size
    shown = run.object["shown"]
    assert size == run.object["bytes"] <= 900_000
    assert size > 500_000
    told = f"{len(shown)} of 40 photographs are shown, chosen by seed 0: so many fit into 0.9 MB."
    assert run.object["left_out"] == [told]
    assert told in run.err and told in text_of(project)
    assert 1 <= len(shown) < 40
    other = cli("report", "-p", project.root, "--budget", "900KB", "--seed", 1, "--name", "other", "--json").object
    assert other["shown"] != shown


def test_photographs_can_be_named(cli: Cli, study: Project) -> None:
    run = cli("report", "-p", study.root, "--images", f"f.jpg,0,{HOSTILE}", "--name", "chosen", "--json")
    assert run.status == 0, run.err
    assert run.object["shown"] == ["a.jpg", HOSTILE, "f.jpg"]
    assert run.object["left_out"] == ["3 of 6 photographs are shown, as listed: as --images asked."]


def test_from_shows_an_artifact_and_what_it_was_made_of(cli: Cli, study: Project) -> None:
    run = cli("report", "-p", study.root, "--from", "color/joint", "--name", "part", "--json")
    assert run.status == 0
    kinds = [one.kind for one in study.header("reports", "part").inputs]
    assert kinds == ["cut", "color"]
    assert "Segments" not in text_of(study, "part")


def test_an_artifact_of_another_version_is_left_out_and_named(cli: Cli, tmp_path: Path) -> None:
    project = make_study(tmp_path, ["a.jpg", "b.jpg"], {"one": 2}, classes=("no", "yes"))
    header, tensors = load_tensors(project.path("segment", "joint"))
    kept = {name: array for name, array in tensors.items() if name != "classes.accuracy"}
    meanings = {name: (entry["axes"], entry["meaning"]) for name, entry in header.raw["tensors"].items()}
    recipe = Recipe("segment", "joint", 1, dict(header.params), header.inputs)
    parents = (project.header("cut", "joint"),)
    path = project.path("segment", "joint")
    write_artifact(path, recipe, kept, meanings, axes=header.axes, numerics={}, parents=parents)
    run = cli("report", "-p", project.root, "--json")
    assert run.status == 0, run.err
    assert run.object["left_out"] == [
        "segment/joint is left out: alignedcut 0.1.0 wrote no 'classes.accuracy' into it."
    ]
    assert "segment/joint is left out" in text_of(project)


def test_a_photograph_that_is_gone_leaves_a_square(cli: Cli, tmp_path: Path) -> None:
    project = make_study(tmp_path, ["a.jpg", "b.jpg"], {"one": 2})
    (tmp_path / "photos" / "b.jpg").unlink()
    run = cli("report", "-p", project.root)
    assert run.status == 0
    assert "is gone or has changed: pictures go without; run extract on them where they are now" in run.err
    thumbs = [one["thumb"] for one in model_of(project)["images"]]
    assert thumbs[0].startswith("data:image/jpeg;base64,") and thumbs[1] is None


def test_a_damaged_input_is_refused(cli: Cli, tmp_path: Path) -> None:
    project = make_study(tmp_path, ["a.jpg"], {"one": 2})
    path = project.path("cut", "joint")
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(bytes(data))
    run = cli("report", "-p", project.root)
    assert run.status == 65
    assert "artifact-corrupt" in run.err
    assert not project.path("reports", "report").exists()


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (["--budget", "much"], 2, "bad-size"),
        (["--budget", "1KB"], 2, "bad-size"),
        (["--images", "0"], 2, "bad-images"),
        (["--images", ","], 2, "bad-images"),
        (["--images", "nobody.jpg"], 65, "no-such-image"),
        (["--images", "0,99"], 65, "no-such-image"),
        (["--from", "cut/none"], 66, "artifact-missing"),
        (["--from", "reports/report"], 2, "wrong-kind"),
        (["--name", "x.html"], 2, "bad-name"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    cli: Cli, study: Project, options: list[str], status: int, code: str
) -> None:
    run = cli("report", "-p", study.root, *options)
    assert (run.status, run.out) == (status, "")
    assert run.err.count("\n") == 1 and f"[{code}, exit {status}]" in run.err


def test_an_empty_project_has_no_page(cli: Cli, tmp_path: Path) -> None:
    Project(tmp_path).create()
    run = cli("report", "-p", tmp_path)
    assert run.status == 66
    assert "there is no artifact to show" in run.err


def test_open_hands_the_page_to_the_browser(cli: Cli, study: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: asked.append(address) or True)
    assert cli("report", "-p", study.root, "--name", "shown", "--images", 1).status == 0
    assert asked == []
    assert cli("report", "-p", study.root, "--name", "shown", "--images", 1, "--open").status == 0
    assert asked == [study.path("reports", "shown").absolute().as_uri()]


def test_a_dry_run_writes_nothing(cli: Cli, study: Project) -> None:
    run = cli("report", "-p", study.root, "--name", "dry", "--dry-run", "--json")
    assert run.object["inputs"] == ["cut/joint", "color/joint", "segment/joint"]
    assert run.object["outputs"][0]["bytes"] == 15_000_000
    assert not study.path("reports", "dry").exists()
