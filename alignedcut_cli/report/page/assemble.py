"""The page from its parts: content security policy, style, chapters, the data model of the script, and the script."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from alignedcut_cli.report.page.html import Content, Safe, data_block, joined, tag
from alignedcut_cli.report.page.kinds.kind import PLACES, Section

__all__ = ["assets_digest", "page"]


@functools.cache
def _asset(name: str) -> str:
    return (resources.files("alignedcut_cli.report.page") / "assets" / name).read_text(encoding="utf-8")


def assets_digest() -> str:
    """A hash of the page's style and script."""
    return hashlib.sha256((_asset("page.css") + _asset("page.js")).encode()).hexdigest()


def _source(text: str) -> str:
    """The source expression with which a content security policy admits exactly one inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(
    title: str, left_out: Sequence[str], model: Any, sheets: Content, sections: Sequence[Section], trust: Content
) -> Safe:
    """The HTML after the provenance header, from the head's other elements to the end.

    Nothing is loaded from elsewhere: the policy admits only this script, this style, and pictures within the page.
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = joined([
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Safe(style)),
    ])  # fmt: skip
    chapters = [("look", "Pick a patch", _live(bool(model["lenses"]))), ("sheets", "Sheets", sheets)]
    for place, heading in PLACES.items():
        mine = [section for section in sections if section.place == place]
        chapters.append((place, heading, joined([_section(one) for one in mine]) if mine else None))
    chapters.append(("trust", "Trust", trust))
    shown = [chapter for chapter in chapters if chapter[2]]
    links = tag("ul", *(tag("li", tag("a", heading, href=f"#{name}")) for name, heading, _ in shown))
    told = tag("div", *(tag("p", line) for line in left_out), cls="left-out") if left_out else None
    main = tag("main", *(tag("section", tag("h2", heading), body, id=name) for name, heading, body in shown), id="main")
    body = joined([
        tag("a", "Skip to the content", href="#main", cls="skip"),
        tag("header", tag("h1", title), told, tag("nav", links, aria_label="Chapters")),
        main,
        data_block("model", model),
        tag("script", Safe(script), type="module"),
    ])  # fmt: skip
    return Safe(f"{head}</head>\n<body>{body}</body></html>\n")


def _live(there: bool) -> Safe | None:
    if not there:
        return None
    how = tag(
        "p",
        "Hover or tap any patch: every other is shaded by how like it is. A click or Enter pins it; arrow keys move it.",
    )
    off = tag("p", "Where scripts are off, the sheets and figures below show the same data, standing still.")
    return joined([how, tag("div", off, id="live")])


def _section(section: Section) -> Safe:
    return tag("section", tag("h3", section.title), section.body)
