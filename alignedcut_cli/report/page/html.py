"""HTML in which every text is escaped: elements are `Safe`, and plain strings become text."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Content", "Safe", "data_block", "data_table", "joined", "tag", "twin"]

_VOID = {"br", "img", "input", "link", "meta"}


class Safe(str):
    """Markup that is already escaped."""

    __slots__ = ()


Content = str | Iterable[str] | None


def joined(parts: Content) -> Safe:
    """Texts, escaped, and markup, concatenated."""
    if parts is None:
        return Safe("")
    if isinstance(parts, str):
        return parts if isinstance(parts, Safe) else Safe(html.escape(parts))
    return Safe("".join(joined(part) for part in parts))


def tag(name: str, /, *content: Content, **attributes: Any) -> Safe:
    """An element. Attributes: `cls` is class, `_` is `-`; True has no value, None and False are left out."""
    given = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        spelt = "class" if key == "cls" else key.rstrip("_").replace("_", "-")
        given.append(f" {spelt}" if value is True else f' {spelt}="{html.escape(str(value))}"')
    begin = f"<{name}{''.join(given)}>"
    return Safe(begin if name in _VOID else f"{begin}{joined(map(joined, content))}</{name}>")


def data_block(identity: str, value: Any) -> Safe:
    """A JSON value as an inert element that scripts can read; no `<` occurs in it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Safe(
        f'<script type="application/json" id="{html.escape(identity)}">{text.replace("<", chr(92) + "u003c")}</script>'
    )


def data_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Safe:
    """A table of values: numbers to four digits, None as a dash."""
    lines = [tag("tr", *(_cell(value) for value in row)) for row in rows]
    heads = tag("tr", *(tag("th", name, scope="col") for name in head))
    table = tag("table", tag("caption", caption), tag("thead", heads), tag("tbody", *lines))
    return tag("div", table, cls="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(value: Any) -> Safe:
    if value is None:
        return tag("td", "–")
    if isinstance(value, bool):
        return tag("td", "yes" if value else "no")
    if isinstance(value, float):
        return tag("td", f"{value:.4g}", cls="number")
    return tag("td", str(value), cls="number" if isinstance(value, int) else None)


def twin(caption: str, rows: Sequence[Mapping[str, Any]]) -> Safe:
    """The collapsed table of a figure, one column per key."""
    if not rows:
        return Safe("")
    head = list(rows[0])
    table = data_table(caption, head, ([row[key] for key in head] for row in rows))
    return tag("details", tag("summary", f"Table: {caption} ({len(rows)} rows)"), table, cls="twin")
