"""Names of class ids: ids are used wherever they are given, and what is not understood is named."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignedcut_cli.datasets.class_names import read_names
from alignedcut_cli.errors import AlignedcutError, DataError

NAMES = {0: "background", 1: "face", 4: "licence plate", 7: "word"}
COCO = [{"supercategory": "x", "isthing": 1, "id": one, "name": name} for one, name in NAMES.items()]


def lines(form: str) -> str:
    return "".join(form.format(id=one, name=name) + "\n" for one, name in NAMES.items())


def read(tmp_path: Path, text: str | bytes, name: str = "names.txt", **options: Any) -> dict[int, str]:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return read_names(tmp_path / name, **options)


LINES = [
    "{id} {name}", "{id}\t{name}", "{id},{name}", "{id}, {name}", "{id};{name}", "{id}: {name}", "{id}:{name}",
    "{id}={name}", "{id} = {name}", "{id}. {name}", "{id}) {name}", "{id} - {name}", "{id} -> {name}", "{id}|{name}",
    '{id},"{name}"', "{id}: '{name}',", "{name},{id}", "{name}: {id}", "{name} = {id}", "{name}\t{id}", "{name} {id}",
]  # fmt: skip


@pytest.mark.parametrize("form", LINES)
def test_lines_of_an_id_and_a_name(tmp_path: Path, form: str) -> None:
    assert read(tmp_path, lines(form)) == NAMES


@pytest.mark.parametrize(
    "text",
    [
        "# id name\n" + lines("{id} {name}"),
        "id,name\n" + lines("{id},{name}"),
        "id name\n" + lines("{id} {name}"),
        "name id\n" + lines("{name} {id}"),
        "Name;Id;Color\n" + lines("{name};{id};#ffffff"),
        "Idx,Ratio,Train,Name\n" + lines('{id},0.25,11,"{name}"'),
        "class_id\tclass_name\n" + lines("{id}\t{name}"),
        lines("\n  # a remark\n {id}  {name} "),
        lines("{id} {name}").replace("\n", "\r\n"),
    ],
)
def test_heads_tables_and_comments(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == NAMES


@pytest.mark.parametrize(
    "value",
    [
        COCO,
        {"categories": COCO, "info": {"year": 2017}, "licenses": [{"id": 1, "name": "CC-BY"}]},
        {"id2label": {str(one): name for one, name in NAMES.items()}, "label2id": {}},
        {"label2id": {name: one for one, name in NAMES.items()}},
        {name: one for one, name in NAMES.items()},
        [[one, name] for one, name in NAMES.items()],
        [f"{one}: {name}" for one, name in NAMES.items()],
    ],
)
def test_json_that_gives_ids(tmp_path: Path, value: Any) -> None:
    assert read(tmp_path, json.dumps(value), "names.json") == NAMES
    assert read(tmp_path, json.dumps(value), "names.txt") == NAMES


@pytest.mark.parametrize("name", ["names.txt", "names.json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_byte_order_marks(tmp_path: Path, name: str, encoding: str) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    text = '{"3": "Brücke"}' if name.endswith("json") else "3 Brücke"
    assert read(tmp_path, mark + text.encode(encoding), name) == {3: "Brücke"}


def test_ids_below_zero(tmp_path: Path) -> None:
    assert read(tmp_path, "-1 licence plate\n0 road\n") == {-1: "licence plate", 0: "road"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sky\nlicence plate\n", ["sky", "licence plate"]),
        ("\ufeffsky\n# a remark\ndog", ["sky", "dog"]),
        ("class 1\nclass 2", ["class 1", "class 2"]),
        ("3d printer\nBoeing 747\nA320", ["3d printer", "Boeing 747", "A320"]),
        ("Animal,64,128,64\nArch,192,0,128", ["Animal,64,128,64", "Arch,192,0,128"]),
        ('["sky", "7 eleven"]', ["sky", "7 eleven"]),
    ],
)
def test_without_ids_places_are_the_ids(tmp_path: Path, text: str, wanted: list[str]) -> None:
    assert read(tmp_path, text) == dict(enumerate(wanted))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("n.txt", "0 sky\ndog\n", "line 2: 'dog' has no class id, but line 1 has: '0 sky'"),
        ("n.txt", "sky\ndog\n7 eleven\n", "line 1: 'sky' has no class id, but line 3 has: '7 eleven'"),
        ("n.txt", "id name\nsky\n", "line 2: 'sky' has no class id"),
        ("n.txt", "names:\n  0: sky\n  1: dog\n", "line 1: 'names:' has no class id"),
        ("n.txt", "item {\n  id: 3\n  name: 'dog'\n}\n", "line 1: 'item {' has no class id"),
        ("n.txt", "0 sky\n\n0 dog\n", "line 3: id 0 is called 'sky' before and 'dog' here"),
        ("n.txt", "id,name\n0,sky\ndog\n", "line 3: 'dog' has no class id and name"),
        ("n.txt", "name\tid\nsky\t0\ndog\tx\n", r"line 3: 'dog\\tx' has no class id and name"),
        ("n.json", '{"0": "sky",\n dog}', "line 2: it is no JSON"),
        ("n.json", '[{"id": 1, "name": "a"}, {"name": "b"}]', "entry 1 of the list: {'name': 'b'} has no class id"),
        ("n.json", '[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]', "entry 1 of the list: id 1 is called 'a'"),
        ("n.json", '[{"id": true, "name": "a"}]', "has no class id"),
        ("n.json", '["sky", null]', "entry 1 of the list: None has no class id"),
        ("n.json", '{"1": "sky", "version": "2"}', "key 'version': '2' has no class id"),
        ("n.json", '{"1": "sky", "1": "dog"}', "key '1': it comes twice"),
        ("n.json", '{"1": "sky", "01": "dog"}', "key '01': id 1 is called 'sky'"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text, name)
    assert told.replace("\\\\", "\\") in caught.value.message and str(tmp_path / name) in caught.value.message
    assert (caught.value.code, caught.value.exit_status) == ("bad-names", 65)


def test_utf16_without_its_mark(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no names"):
        read(tmp_path, "3 dog\n".encode("utf-16-le"))


# sections

SECTIONS = json.dumps({"category": ["none", "face", "body", "dog"], "ground": ["none", "sky"], "of": {"a.png": "face"}})


@pytest.mark.parametrize(
    ("section", "ids", "wanted", "told"),
    [
        ("ground", {0, 3}, {0: "none", 1: "sky"}, ""),
        ("copy", {0, 3, 255}, {0: "none", 1: "face", 2: "body", 3: "dog"}, "those under 'category'"),
        ("copy", {0, 1}, {}, "names under 'category', 'ground'"),
    ],
)
def test_sections(tmp_path: Path, section: str, ids: set[int], wanted: dict[int, str], told: str) -> None:
    """The folder's own, else the only one that fits the ids of the masks, else none, with a note."""
    notes: list[str] = []
    found = read(tmp_path, SECTIONS, "names.json", section=section, ids=lambda: ids, note=notes.append)
    assert found == wanted
    assert [told in note for note in notes] == ([True] if told else [])


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(), st.lists(st.from_regex(r"-?[0-9]{0,3}[ ,:=\t]?[a-z#]{0,3}")).map("\n".join)))
def test_any_text_is_names_or_one_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder, codes = tmp_path_factory.getbasetemp(), set()
    for name in ("any.txt", "any.json"):
        (folder / name).write_bytes(text.encode(errors="surrogatepass"))
        try:
            found = read_names(folder / name)
        except AlignedcutError as error:
            codes.add(error.code)
        else:
            assert all(isinstance(one, int) and isinstance(called, str) for one, called in found.items())
    assert codes <= {"bad-names"}


def test_pipes_and_folders_are_no_names(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for path in (tmp_path / "pipe.txt", tmp_path, Path("/dev/null")):
        with pytest.raises(DataError, match="is no regular file"):
            read_names(path)
