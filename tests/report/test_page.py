"""The parts of the page: escaping, codes and their cost in cosine, which nodes are shown, charts, the kinds' registry."""

from __future__ import annotations

import base64
import gzip
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from alignedcut_cli.nodes.slots import node_table
from alignedcut_cli.report.page.chart import STYLES, Line, chart, legend
from alignedcut_cli.report.page.codes import Code, cosine_cost, directions, pack, quantised
from alignedcut_cli.report.page.html import Safe, data_block, tag, twin
from alignedcut_cli.report.page.kinds.kind import PLACES, Given
from alignedcut_cli.report.page.lens import Lens, Part, View
from alignedcut_cli.report.page.references import BIBTEX
from alignedcut_cli.report.page.registry import REGISTRY
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.project import KINDS, REPORTS

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'name'"


def test_every_text_is_escaped_and_markup_is_not() -> None:
    made = tag("p", HOSTILE, tag("b", "bold"), title=HOSTILE)
    assert "<script" not in made and "<img" not in made
    assert made.count("<b>bold</b>") == 1
    assert '"quoted"' not in made.split(">", 1)[0].replace('title="', "").replace("&quot;", "")
    assert isinstance(made, Safe)
    assert tag("input", hidden=True, disabled=False, id=None) == "<input hidden>"


@given(some.text())
def test_no_text_ends_a_data_block(text: str) -> None:
    block = data_block("model", {"name": text, "<": [text]})
    inside = block.removeprefix('<script type="application/json" id="model">').removesuffix("</script>")
    assert "<" not in inside
    assert json.loads(inside) == {"name": text, "<": [text]}


def test_tables_say_what_is_unknown() -> None:
    made = twin("scores", [{"a": None, "b": 0.123456, "c": "<x>", "d": True}])
    assert "<td>–</td>" in made and "0.1235" in made and "&lt;x&gt;" in made and ">yes<" in made
    assert twin("scores", []) == ""


def test_codes_are_the_nearest_multiples_of_each_columns_step() -> None:
    rows = np.random.default_rng(0).standard_normal((400, 5)) * [1, 10, 0.01, 3, 0]
    code = quantised(rows.astype(np.float32))
    for column in range(5):
        largest = max(abs(float(value)) for value in rows[:, column].astype(np.float32))
        assert code.scale[column] == pytest.approx(largest / 127)
        error = np.abs(code.rows()[:, column] - rows[:, column])
        assert error.max() <= largest / 127 / 2 + 1e-6
    assert code.data.shape == (5, 400)
    assert code.data.dtype == np.int8


def test_a_pack_is_little_endian_bytes_and_always_the_same() -> None:
    values = np.arange(-300, 300, dtype=np.int16).reshape(3, 200)
    found = np.frombuffer(gzip.decompress(base64.b64decode(pack(values))), "<i2").reshape(3, 200)
    assert (found == values).all()
    assert pack(values) == pack(values.astype(">i2")) == pack(np.asfortranarray(values))


def test_the_cost_is_the_largest_error_of_a_cosine() -> None:
    draws = np.random.default_rng(1)
    rows = draws.standard_normal((50, 6)).astype(np.float32)
    coded = rows + 0.05 * draws.standard_normal((50, 6)).astype(np.float32)
    worst = 0.0
    for a in range(50):
        for b in range(50):
            one, other = (
                float(x[a].astype(float) @ x[b].astype(float) / np.linalg.norm(x[a]) / np.linalg.norm(x[b]))
                for x in (rows, coded)
            )
            worst = max(worst, abs(one - other))
    assert cosine_cost(rows, coded) == pytest.approx(worst, abs=1e-5)
    assert cosine_cost(rows, rows) == 0
    assert cosine_cost(rows, 3 * rows) == pytest.approx(0, abs=1e-6)
    assert cosine_cost(rows, Code(quantised(rows).data, quantised(rows).scale).rows()) < 0.033


@pytest.mark.parametrize("rank", [2, 5])
def test_directions_are_the_best_dimensions_of_unit_rows(rank: int) -> None:
    draws = np.random.default_rng(2)
    rows = (draws.standard_normal((90, 5)) * [9, 4, 2, 1, 0.5]).astype(np.float32)
    found = directions(lambda: (rows[start : start + 40] for start in range(0, 90, 40)), 90, rank)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    _, values, right = np.linalg.svd(units.astype(np.float64), full_matrices=False)
    best = units @ right[:rank].T @ right[:rank]
    assert np.abs(found.units @ found.basis.T - best).max() < 1e-5
    assert found.lengths == pytest.approx(np.linalg.norm(rows, axis=1), rel=1e-5)
    assert found.kept == pytest.approx((values[:rank] ** 2).sum() / (values**2).sum())


def test_a_lens_shows_the_patches_of_the_chosen_photographs_and_nothing_else() -> None:
    slots = [
        {"model": "a", "tap": "attn", "layer": 0, "grid": [2, 3], "class_token": True},
        {"model": "b", "tap": "attn", "layer": 1, "grid": [4, 2], "class_token": False},
    ]
    axes = {"S": {"size": 2, "slots": slots}, "B": {"size": 5}, "G": {"size": 1}}
    lens = Lens("x", "", (Part(Header({"axes": axes}), (1, 4)),))
    nodes = np.concatenate([node_table(slot, number, 5) for number, slot in enumerate(slots)])
    wanted = [k for k, (image, _, row, _) in enumerate(nodes.tolist()) if image in (1, 4) and row >= 0]
    assert lens.parts[0].rows.tolist() == wanted
    assert lens.nodes == len(wanted) == 2 * (6 + 8)
    assert [slot["start"] for slot in lens.slot_objects()] == [0, 12]
    for slot, number in zip(lens.slot_objects(), (0, 1), strict=True):
        first = nodes[lens.parts[0].rows[slot["start"]]]
        assert first.tolist() == [1, number, 0, 0]


@pytest.mark.parametrize("what", ["classify", "brain"])
def test_a_probe_shows_the_scores_of_both_kinds_of_features(what: str) -> None:
    axes = {"Q": {"size": 58}, "E": {"labels": ["embedding", "queries"]}, "M": {"labels": ["ereg", "ersa"]}}
    axes["C"] = {"targets": [{"region": "V1", "subject": "one"}]}
    arrays = {
        "accuracy": np.array([0.75, 0.5]),
        "accuracy.interval": np.array([[0.7, 0.8], [np.nan, np.nan]]),
        "score": np.array([[[0.31, 0.2]], [[0.12, np.nan]]]),
    }
    probe = Given(Header({"kind": "probe", "name": "p", "params": {"what": what}, "axes": axes}), arrays)
    (section,) = REGISTRY["probe"].sections(probe)
    told = ("0.75", "0.7", "–") if what == "classify" else ("V1", "ereg embedding", "0.31", "0.12", "–")
    assert all(f">{text}<" in section.body for text in told)
    assert "58 queries in words" in REGISTRY["probe"].methods(probe)


def test_views_of_different_cuts_are_one_and_others_are_told_apart() -> None:
    def view(values: list[int], there: list[bool], title: str = "Colours") -> View:
        return View("colours", title, np.array(values, np.uint8)[:, None].repeat(3, 1), there=np.array(there))

    left, right = view([1, 2, 9, 9], [True, True, False, False]), view([8, 8, 3, 4], [False, False, True, True])
    whole = left.joined(right)
    assert whole is not None and whole.there is not None
    assert whole.values[:, 0].tolist() == [1, 2, 3, 4] and whole.there.all()
    assert whole.joined(right) is None
    assert left.joined(view([0, 0, 0, 0], [False, False, True, True], "Others")) is None


def test_a_rough_cut_is_warned_of() -> None:
    axes = {"Q": {"labels": ["residual", "rank"]}}
    for residual, count in ((0.05, 0), (0.3, 1)):
        given_cut = Given(Header({"axes": axes}), {"certificate": np.array([[0.01, 9.0], [residual, 9.0]])})
        assert len(REGISTRY["cut"].warnings(given_cut)) == count


def test_lines_differ_by_colour_dash_and_marker() -> None:
    drawn = [legend([("line", style)]) for style in range(STYLES)]
    for pattern in (r'cls="f\d"|class="f\d"', r"stroke-dasharray=\"[^\"]*\"|$"):
        assert len({re.search(pattern, art).group() for art in drawn}) == STYLES  # type: ignore[union-attr]
    shapes = {re.sub(r"class=\"\w+\"|stroke-dasharray=\"[^\"]*\"", "", art) for art in drawn}
    assert len(shapes) == STYLES


def test_a_chart_draws_bands_rings_and_the_ceiling() -> None:
    lines = [
        Line("a", [(0, 0.2), (1, 0.6)], [(0.1, 0.3), (0.5, 0.7)], (1,), 0),
        Line("b", [(0, -0.1)], [(-0.2, 0)], (), 1),
    ]
    art = chart("V1 <b>", lines, x="depth", y="score", reference=(0.8, 0.9, "ceiling"))
    assert art.count('class="band f0"') == 1 and art.count("ring") == 1 and art.count('class="ceiling"') == 1
    assert "V1 &lt;b&gt;" in art


def test_every_kind_of_artifact_has_its_part() -> None:
    assert list(REGISTRY) == [kind for kind in KINDS if kind != REPORTS]
    assert PLACES


def test_references_are_bibtex_with_their_own_keys() -> None:
    for key, entry in BIBTEX.items():
        assert entry.startswith(f"@article{{{key},")
        assert entry.count("{") == entry.count("}")
