"""The table of models: searched by column, with what is nearest where nothing matches."""

from __future__ import annotations

import pytest

from alignedcut_cli.backbones.zoo import COLUMNS, Row, list_models, nearest, select
from alignedcut_cli.errors import UsageError
from tests.conftest import Cli


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list_models()


def test_every_source_is_listed_with_every_column(rows: list[Row]) -> None:
    assert all(row.keys() == COLUMNS.keys() and row["name"] and row["taps"] for row in rows)
    assert {row["source"] for row in rows} == {"timm", "open_clip", "torchvision", "alignedcut"}
    by_name = {row["name"]: row for row in rows}
    assert len(by_name) == len(rows)
    assert by_name["dino"]["input"] == "196" and by_name["dino"]["data"] == "LVD-142M"
    assert by_name["convnext_base.fb_in22k_ft_in1k"]["data"] == "ImageNet-22k, ImageNet-1k"
    assert by_name["convnext_base.fb_in22k_ft_in1k"]["taps"] == "maps"
    assert by_name["torchvision:vgg16/IMAGENET1K_V1"]["parameters"] == "138357544"
    assert by_name["open_clip:ViT-B-32/openai"]["taps"] == "tokens, maps, captions"


def test_columns_are_searched_in_part_or_wholly(rows: list[Row]) -> None:
    found = select(rows, "", ["architecture=^RESNET18$", "source=torchvision"], exact=False)
    assert [row["name"] for row in found] == ["torchvision:resnet18/IMAGENET1K_V1"]
    assert select(rows, "", ["architecture=resnet1"], exact=True) == []
    assert len(select(rows, "", ["architecture=resnet18"], exact=True)) < len(select(rows, "resnet18", [], exact=False))
    for wrong in ("size=3", "name", "name=("):
        with pytest.raises(UsageError):
            select(rows, "", [wrong], exact=False)


def test_what_is_nearest_is_of_the_column(rows: list[Row]) -> None:
    assert "alexnet" in nearest(rows, ["architecture=alexnett"])["architecture"]
    assert nearest(rows, ["source=zzzzzz"])["source"] == ["alignedcut", "open_clip", "timm", "torchvision"]


def test_the_command_prints_counts_and_exits_with_1_where_nothing_matches(cli: Cli) -> None:
    found = cli("models", "--where", "name=^tiny-", "--columns", "name,parameters,about")
    lines = found.out.splitlines()
    assert lines[0].split() == ["name", "parameters", "about"]
    assert lines[1].split()[:2] == ["tiny-clip", "1233280"]
    one = cli("models", "--where", "name=^tiny-", "--where", "parameters=^7", "--json").object["models"]
    assert [row["name"] for row in one] == ["tiny-dino", "tiny-mae"]
    none = cli("models", "--where", "architecture=alexnett")
    assert (none.status, none.out) == (1, "")
    assert "architecture has for example: alexnet" in none.err
    assert cli("models", "--filter", "no such model", "--json").object["models"] == []
    many = cli("models", "--where", "parameters=^7")
    assert (many.status, "at most 30 models" in many.err) == (2, True)
    assert cli("models", "--columns", "nome").status == 2
