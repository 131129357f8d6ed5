"""The floor plan of the package, read from its imports: who may import whom, no circles, and a docstring a room.

    main -> commands -> {nodes, report, frame} -> {backbones, brain, datasets} -> store -> errors

All of them may import core; core imports only core, a room of core only its own files, core/numerics and core/resample, and
no command another command's package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "alignedcut_cli"
FLOORS = {
    "main": 6, "__main__": 7, "commands": 5, "nodes": 4, "report": 4, "frame": 4, "backbones": 3, "brain": 3,
    "datasets": 3, "store": 2, "errors": 1, "core": 0,
}  # fmt: skip
ROOMS = ("align", "embed", "encode", "graph", "groups", "maps")
GROUND = ("numerics", "resample")

Imports = Mapping[str, set[str]]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, modules: set[str]) -> set[str]:
    """The package's modules that a file names in an import, wherever it stands, names relative to the package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            found |= {f"{node.module}.{one.name}" for one in node.names}
    inside = {name.removeprefix("alignedcut_cli.") for name in found if name.startswith("alignedcut_cli.")}
    return {name if name in modules else name.rpartition(".")[0] for name in inside} & modules


@pytest.fixture(scope="module")
def house() -> Imports:
    files = {module_name(path): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    modules = set(files) - {""}
    return {name: imports_of(text, modules) - {name} for name, text in files.items() if name}


def broken(importer: str, imported: str) -> str | None:
    """The rule that an import breaks, or None."""
    (above, *inside), (below, *within) = importer.split("."), imported.split(".")
    if above == below == "core":
        room, other = inside[0], within[0]
        if other != room and other not in GROUND:
            return "a room of core imports its own files, core.numerics and core.resample alone"
    elif above == "core":
        return "core imports core alone"
    elif above == below == "commands":
        if inside and within and inside[0] != within[0]:  # the list of commands, above all, is open to show
            return "no command imports another command's package"
    elif above != below and FLOORS[above] < FLOORS[below]:
        return (
            "imports run main -> commands -> {nodes, report, frame} -> {backbones, brain, datasets} -> store -> errors"
        )
    return None


def circle(graph: Mapping[str, set[str]]) -> list[str] | None:
    """One circle of a directed graph, its first node again at the end, or None if it has none."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        for other in sorted(graph[node]):
            if found := walk(other, [*path, node]):
                return found
        done.add(node)
        return None

    return next((found for node in sorted(graph) if (found := walk(node, []))), None)


def folders(house: Imports, depth: int) -> dict[str, set[str]]:
    """The imports between packages, cut at `depth` names."""
    packages = {module_name(path) for path in PACKAGE.rglob("__init__.py")}

    def room(name: str) -> str:
        parent = name if name in packages else name.rpartition(".")[0] or name
        return ".".join(parent.split(".")[:depth])

    graph: dict[str, set[str]] = {room(name): set() for name in house}
    for name, imported in house.items():
        graph[room(name)] |= {room(other) for other in imported} - {room(name)}
    return graph


def arrows(house: Imports) -> Iterator[tuple[str, str]]:
    for name, imported in sorted(house.items()):
        yield from ((name, other) for other in sorted(imported))


def test_imports_run_one_way(house: Imports) -> None:
    told = [f"{one} imports {other}: {rule}" for one, other in arrows(house) if (rule := broken(one, other))]
    assert not told, "\n".join(told)


def test_no_file_imports_itself_by_way_of_others(house: Imports) -> None:
    assert circle(house) is None


@pytest.mark.parametrize("depth", [1, 2])
def test_no_room_imports_itself_by_way_of_others(house: Imports, depth: int) -> None:
    assert circle(folders(house, depth)) is None


def test_every_room_says_what_lives_there_and_what_does_not() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
            assert len(lines) == 3 and lines[2].startswith("Not here: "), path


@pytest.mark.parametrize(
    ("importer", "imported", "rule"),
    [
        ("store.project", "frame.run", "run main"),
        ("brain.tables", "nodes.rows", "run main"),
        ("frame.run", "commands.cut.plan", "run main"),
        ("commands.demo", "main", "run main"),
        ("core.graph.ncut", "core.embed.tsne", "room of core"),
        ("core.numerics", "core.graph.ncut", "room of core"),
        ("core.resample.draws", "core.encode.rdm", "room of core"),
        ("core.graph.ncut", "store.files", "core alone"),
        ("commands.trace.run", "commands.cut.plan", "no command"),
        ("commands.brain", "commands.cut.plan", "no command"),
    ],
)
def test_a_line_that_breaks_a_rule_is_told_which(importer: str, imported: str, rule: str) -> None:
    assert rule in (broken(importer, imported) or "")


def test_lines_that_break_none_are_let_pass() -> None:
    assert broken("commands.cut.run", "commands.cut.plan") is None
    assert broken("datasets.masks", "core.groups.grid_labels") is None
    assert broken("nodes.slots", "frame.config") is None


def test_circles_are_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None
