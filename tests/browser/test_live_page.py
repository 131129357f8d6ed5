"""The page in a browser: it asks for nothing, its numbers are the artifacts', mouse, keys and narrow screens work."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alignedcut_cli.core.groups.grid_labels import grid_labels
from alignedcut_cli.main import main
from alignedcut_cli.store.artifact import load_tensors
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.project import Project
from tests.browser.conftest import Open, Opened
from tests.helpers.studies import make_study

pytestmark = pytest.mark.browser

FACE = 1
HOSTILE = ["<img src=x onerror=alert(1)>.jpg", "</script><script>alert(2)</script>.jpg".replace("/", "_"), "d'\"&.jpg"]
TOLD = "() => document.querySelector('.live').textContent"
PICK = "() => window.alignedcut.pick"


@pytest.fixture
def page(opened: Open, whole_study: Path) -> Opened:
    return opened(whole_study / "study" / "reports" / "report.html")


def settle(page: Opened) -> None:
    """Wait until what was asked for is unpacked and drawn."""
    page("() => Promise.resolve(window.alignedcut.changing)")
    page("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def choose(page: Opened, label: str, option: str) -> None:
    page.page.get_by_label(label, exact=True).select_option(label=option)
    settle(page)


def centre_of(page: Opened, image: int, row: int, column: int, grid: tuple[int, int]) -> tuple[float, float]:
    """Where on the screen a patch of the first model lies, scrolled into view."""
    cell = page.page.locator(".photo").nth(image).locator(".cell").first
    cell.scroll_into_view_if_needed()
    box = cell.bounding_box()
    return box["x"] + (column + 0.5) / grid[1] * box["width"], box["y"] + (row + 0.5) / grid[0] * box["height"]


def test_nothing_is_asked_for_and_nothing_complained_of(page: Opened, whole_study: Path) -> None:
    for label in ("Show", "Compared in", "Nodes of"):
        names = page.page.get_by_label(label, exact=True).locator("option").all_inner_texts()
        assert len(names) > 1
        assert label != "Show" or {"8 clusters (tree/aligned)", "Ground truth: figure", "Colours (t-SNE)"} <= set(names)
        for name in names:
            choose(page, label, name)
    assert page.page.get_by_role("heading", name="Comparison compare/both").is_visible()
    assert page.errors == []
    assert page.requests == [(whole_study / "study" / "reports" / "report.html").absolute().as_uri()]


def test_a_click_on_a_face_finds_other_faces(page: Opened, whole_study: Path) -> None:
    choose(page, "Nodes of", "cut/raw")
    header, tensors = load_tensors(Project(whole_study / "study").path("cut", "raw"))
    grid = tuple(header.axes["S"]["slots"][0]["grid"])
    names = [image["path"] for image in header.axes["B"]["images"]]
    masks = [np.array(Image.open(whole_study / "masks" / name)) for name in names]
    face = np.stack([grid_labels(mask, grid) == FACE for mask in masks])  # (B, rows, cols)
    image = int(face.sum((1, 2)).argmax())
    row, column = (round(float(values.mean())) for values in np.nonzero(face[image]))
    assert face[image, row, column]
    page("() => { window.alignedcut.toLayer(1); }")
    page.page.mouse.click(*centre_of(page, image, row, column, grid))
    settle(page)
    assert page(PICK) == {"slot": 1, "image": image, "row": row, "col": column}
    assert page(TOLD).startswith(f"Pinned: {names[image]}, tiny-clip · attn, layer 5, row {row + 1} of {grid[0]}")
    shown = np.array(page("() => [...window.alignedcut.cosines]")).reshape(2, len(names), *grid)
    rows = tensors["eigenvectors"][tensors["nodes"][:, 2] >= 0].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    exact = (rows @ rows.reshape(2, len(names), *grid, -1)[1, image, row, column]).reshape(shown.shape)
    assert np.abs(shown - exact).max() < 0.04
    for cosines in (shown, exact):
        others = np.arange(len(names)) != image
        faces, rest = cosines[1, others][face[others]], cosines[1, others][~face[others]]
        assert faces.mean() > rest.mean() + 0.2
        assert (faces[:, None] > rest).mean() > 0.8  # AUC
    listed = page.page.locator(".nearest button").first.get_attribute("aria-label")
    elsewhere = np.ones(shown.shape, bool)
    elsewhere[:, image, row, column] = False
    assert f"similarity {shown[elsewhere].max():.2f}:" in listed


def test_brain_space_and_areas_are_those_of_the_alignment(page: Opened, whole_study: Path) -> None:
    """The bars are means of v W beta over an area's voxels, and brain cosines those of v W beta in voxels' own units."""
    project = Project(whole_study / "study")
    header, held = load_tensors(project.path("align", "world"))
    stored = np.concatenate(FeatureSet(project.path("features", "tiny-clip")).blocks("tokens.03")).astype(np.float64)
    aligned = stored[:, 1:].reshape(-1, stored.shape[-1]) @ held["transform.000"].astype(np.float64)
    responses = aligned @ held["beta"].astype(np.float64)  # (n, N): layer 3 is the first slot
    member = dict(zip(header.axes["R"]["labels"], held["rois"] > 0, strict=True))
    areas = page("() => window.alignedcut.meaning.spec.areas.names")
    exact = np.stack([responses[:, member.get(area, slice(None))].mean(1) for area in areas], 1)
    bars = "(n) => Array.from({ length: n }, (_, i) => window.alignedcut.meaning.areas(i))"
    found = np.array(page(bars, len(aligned)))
    assert np.abs(found - exact).max() < 0.03 * np.abs(exact).max()
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.999
    choose(page, "Compared in", "brain space")
    page("() => { window.alignedcut.toLayer(0); }")
    settle(page)
    query = page("() => window.alignedcut.lens.node(window.alignedcut.pick)")
    units = responses / held["scale"]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    cosines = np.array(page("(n) => [...window.alignedcut.cosines.subarray(0, n)]", len(aligned)))
    cost = page("() => window.alignedcut.code.spec.spaces[1].cost")
    assert np.abs(cosines - units @ units[query]).max() < cost + 0.02 < 0.1


def test_sliders_change_what_is_shown(page: Opened) -> None:
    painted = (
        "() => { const c = document.querySelector('.cell canvas'); "
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"
    )
    before = page(painted)
    layers = page("() => document.querySelector('.heads').textContent")
    page.page.get_by_role("slider", name="Layer").focus()
    page.page.keyboard.press("ArrowLeft")
    settle(page)
    assert page("() => document.querySelector('.heads').textContent") != layers
    dark = [sum(alpha > 200 for alpha in page(painted)[3::4])]
    for key in ("Home", "End"):
        page.page.get_by_role("slider", name="Threshold").focus()
        page.page.keyboard.press(key)
        settle(page)
        dark.append(sum(alpha > 200 for alpha in page(painted)[3::4]))
    assert dark[1] <= dark[0] <= dark[2] and dark[1] < dark[2]
    assert page(painted) != before


def test_the_keyboard_alone_picks_pins_and_frees(page: Opened) -> None:
    page("() => document.querySelector('.grid').focus()")
    start = page(PICK)
    for key, change in (
        ("ArrowRight", {"col": 1}),
        ("ArrowDown", {"row": 1}),
        ("PageDown", {"image": 1}),
        ("ArrowUp", {"row": -1}),
    ):
        before = page(PICK)
        page.page.keyboard.press(key)
        settle(page)
        assert page(PICK) == {**before, **{name: before[name] + step for name, step in change.items()}}
    assert page(PICK) != start
    page.page.keyboard.press("Enter")
    settle(page)
    assert page(TOLD).startswith("Pinned: ")
    pinned = page(PICK)
    page.page.mouse.move(*centre_of(page, 0, 2, 2, (12, 12)))
    settle(page)
    assert page(PICK) == pinned
    page("() => document.querySelector('.grid').focus()")
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("-")
    settle(page)
    assert not page(TOLD).startswith("Pinned: ") and "layer 3" in page(TOLD)
    assert page("() => getComputedStyle(document.querySelector('.grid')).outlineStyle") != "none"


def test_brushing_the_map_veils_the_other_patches(page: Opened) -> None:
    chart = page.page.locator("canvas.map")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=4)
    page.page.mouse.up()
    settle(page)
    told = page("() => document.querySelector('.note[aria-live]').textContent")
    inside, total = page(
        "() => { const a = window.alignedcut; return [a.state.brush.inside.reduce((x, y) => x + y, 0), a.lens.nodes]; }"
    )
    assert told.startswith(f"{inside} of {total} patches are in the brush") and 0 < inside < total
    page.page.get_by_role("button", name="Clear the brush").click()
    settle(page)
    assert page("() => window.alignedcut.state.brush") is None
    chart.focus()
    page.page.keyboard.press("b")
    settle(page)
    assert page("() => window.alignedcut.state.brush.inside[window.alignedcut.lens.node(window.alignedcut.pick)]") == 1


def test_a_narrow_screen_scrolls_down_only(opened: Open, whole_study: Path) -> None:
    page = opened(whole_study / "study" / "reports" / "report.html", 360, 700, has_touch=True)
    assert page("() => document.documentElement.scrollWidth") <= 360
    x, y = centre_of(page, 1, 4, 4, (12, 12))
    page.page.touchscreen.tap(x, y)
    settle(page)
    assert page(PICK)["image"] == 1 and page(TOLD).startswith("Pinned")
    assert page("() => document.documentElement.scrollWidth") <= 360
    assert page.errors == []


def test_with_scripts_off_the_page_can_be_read(opened: Open, whole_study: Path) -> None:
    page = opened(whole_study / "study" / "reports" / "report.html", scripts=False).page
    assert page.locator(".sheets img.pixels").first.is_visible()
    assert page.get_by_text("Where scripts are off").is_visible()
    assert page.get_by_text("How well it does").first.is_visible()
    assert page.locator("svg.chart").first.is_visible()


def test_print_shows_sheets_and_no_controls(opened: Open, whole_study: Path) -> None:
    page = opened(whole_study / "study" / "reports" / "report.html", 800)
    page.page.emulate_media(media="print")
    page("() => { window.dispatchEvent(new Event('beforeprint')); }")
    assert page.page.locator(".sheets img.pixels").first.is_visible()
    assert not page.page.locator(".bar").is_visible()
    assert page("() => document.documentElement.scrollWidth") <= 800
    page("() => { window.dispatchEvent(new Event('afterprint')); }")
    assert not page.page.locator(".sheets img.pixels").first.is_visible()


def test_hostile_names_run_nothing(opened: Open, tmp_path: Path) -> None:
    project = make_study(tmp_path, HOSTILE, {"<b>x</b>": 2}, classes=("a", "<img src=x onerror=alert(3)>"))
    assert main(["report", "-p", str(project.root), "--title", "<script>alert(4)</script>", "-q"]) == 0
    page = opened(project.path("reports", "report"))
    choose(page, "Show", "Segments: classes (joint)")
    assert page("() => document.querySelector('h1').textContent") == "<script>alert(4)</script>"
    assert page.page.locator(".grid .name").all_inner_texts() == HOSTILE
    assert page("() => document.querySelector('.swatches').textContent") == "a<img src=x onerror=alert(3)>"
    assert (page.dialogs, page.errors, len(page.requests)) == ([], [], 1)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm. Skips where npm or its registry is not there."""
    folder = tmp_path_factory.mktemp("axe")
    if not shutil.which("npm"):
        pytest.skip("axe-core comes from npm, which is not here")
    try:
        subprocess.run(["npm", "pack", "axe-core@4.10.3"], cwd=folder, check=True, capture_output=True, timeout=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm could not fetch axe-core")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        member: Any = packed.extractfile("package/axe.min.js")
        return member.read().decode()


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (360, "dark")])
def test_axe_finds_nothing_serious(opened: Open, whole_study: Path, axe: str, width: int, scheme: str) -> None:
    page = opened(whole_study / "study" / "reports" / "report.html", width, color_scheme=scheme)
    page("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page(
        "() => document.querySelectorAll('tbody tr:nth-child(n + 4)').forEach((one) => one.remove())"
    )  # they are alike
    page(axe)
    found = page("() => axe.run()")["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, [(one["id"], one["nodes"][0]["html"][:200]) for one in serious]
