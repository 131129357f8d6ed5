"""The names of class ids, from JSON or text in the formats that data sets ship."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from alignedcut_cli.datasets.class_lines import Entry, NotUnderstoodError, as_id, by_place, named_lines, numbered
from alignedcut_cli.errors import DataError
from alignedcut_cli.store.files import disk_errors

__all__ = ["NAMES_FILES", "read_names"]

NAMES_FILES = ("names.json", "names.txt")
_WRAPPERS = ("categories", "id2label", "label2id", "names", "classes", "labels")
_ENCODINGS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


def read_names(
    path: Path,
    section: str = "",
    ids: Callable[[], Collection[int]] = tuple,
    note: Callable[[str], None] = lambda _: None,
) -> dict[int, str]:
    """The name of each class id: {id: name}.

    JSON: an object from id to a name, or to an object with a `name`; a list of objects with `id` and `name`; a list of
    names, whose positions are the ids; or an object that holds one of these under `section`, such as `categories` or
    `id2label`, or under another key: then the only one that covers all `ids` is used, if there is one; a note says either.
    Text: as `named_lines` reads it. UTF-8, or UTF-16 with a byte-order mark.
    Raises DataError for others, for a line without an id among lines with ids, and for an id with two names.
    """
    with disk_errors(path):
        if path.exists() and not path.is_file():
            raise DataError("bad-names", f"{path} is no regular file", "Give a file of names")
        text = _decoded(path.read_bytes())
    try:
        if "\0" in text:
            raise ValueError
        if path.suffix.lower() != ".json" and not text.lstrip().startswith(("{", "[")):
            return _collected(named_lines(text))
        value = json.loads(text, object_pairs_hook=_object)
        found = _from_json(value, section)
        return _of_sections(path, _sections(value), ids(), note) if found is None else found
    except NotUnderstoodError as error:
        fact = f"{path}, {error}"
    except json.JSONDecodeError as error:
        fact = f"{path}, line {error.lineno}: it is no JSON ({error.msg})"
    except (ValueError, TypeError, RecursionError):
        fact = f"{path} holds no names of class ids"
    raise DataError("bad-names", fact, 'Give lines such as "3 dog", or JSON {"3": "dog"}')


def _decoded(content: bytes) -> str:
    encoding = next((name for mark, name in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    return content.decode(encoding, errors="replace")


def _collected(entries: Iterable[Entry]) -> dict[int, str]:
    found: dict[int, str] = {}
    for where, one, name in entries:
        if found.setdefault(one, name) != name:
            raise NotUnderstoodError(f"{where}: id {one} is called {found[one]!r} before and {name!r} here")
    return found


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated keys of different values (json would use the last)."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise NotUnderstoodError(f"key {key!r}: it comes twice, with different values")
    return found


def _from_json(value: Any, section: str) -> dict[int, str] | None:
    """The names in a JSON value, None for an object without an id among its keys."""
    if isinstance(value, list):
        return _collected(_listed(value))
    if not isinstance(value, Mapping):
        raise TypeError
    head = next((one for one in (section, *_WRAPPERS) if one in value and as_id(one) is None), None)
    if head is not None:
        return _from_json(value[head], "")
    if any(as_id(key) is not None for key in value) or not value:
        return _collected(_entry(f"key {key!r}", key, one) for key, one in value.items())
    ids = {name: as_id(one) for name, one in value.items()}
    return None if None in ids.values() else _collected(_entry(f"key {name!r}", ids[name], name) for name in ids)


def _listed(values: Sequence[Any]) -> Iterator[Entry]:
    """The entries of a list: of names, whose indices are the ids unless all have one, of [id, name], or of objects."""
    places = [(f"entry {place} of the list", value) for place, value in enumerate(values)]
    if all(isinstance(value, str) for value in values):
        lines = [(where, value.strip()) for where, value in places]
        yield from numbered(lines) or by_place(lines)
        return
    if any(isinstance(value, str) for value in values):
        places = [(where, value) for where, value in places if not isinstance(value, str)]
    for where, value in places:
        if isinstance(value, Mapping):
            yield _entry(where, value.get("id"), value)
        elif isinstance(value, list) and len(value) == 2:
            yield _entry(where, *value)
        else:
            raise NotUnderstoodError(f"{where}: {value!r:.60} has no class id and name")


def _entry(where: str, one: Any, value: Any) -> Entry:
    number, name = as_id(one), value.get("name") if isinstance(value, Mapping) else value
    if number is None or not isinstance(name, str):
        raise NotUnderstoodError(f"{where}: {value!r:.60} has no class {'id' if number is None else 'name'}")
    return where, number, name


def _sections(value: Mapping[str, Any]) -> dict[str, dict[int, str]]:
    """The names under each key that has any. Raises TypeError if none has."""
    found = {}
    for head, one in value.items():
        with suppress(TypeError, NotUnderstoodError):
            found[head] = _from_json(one, "")
    named = {head: names for head, names in found.items() if names}
    if not named:
        raise TypeError
    return named


def _of_sections(
    path: Path, sections: Mapping[str, dict[int, str]], ids: Collection[int], note: Callable[[str], None]
) -> dict[int, str]:
    """The names of the only section that covers all ids covered by any; {} with a note if there is none."""
    known = set(ids) & {one for names in sections.values() for one in names}
    fitting = [head for head, names in sections.items() if known <= set(names)]
    if len(fitting) == 1:
        note(f"{path}: the names are those under {fitting[0]!r}, the only ones that fit the ids of the masks")
        return sections[fitting[0]]
    note(
        f"{path} has names under {', '.join(map(repr, sections))}, and the masks do not tell which are theirs: classes "
        "are called by their ids. Give a file with their names alone"
    )
    return {}
