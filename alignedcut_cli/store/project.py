"""A project: the directory that holds all artifacts of one study, and the names in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alignedcut_cli.errors import DataError, InputMissingError, UsageError
from alignedcut_cli.store.files import TEMPORARY_SUFFIX, abandoned, make_folder, remove
from alignedcut_cli.store.header import Header, Input
from alignedcut_cli.store.index import INDEX, is_artifact_folder, read_header, read_index
from alignedcut_cli.store.locks import hold, is_held
from alignedcut_cli.store.page import read_page
from alignedcut_cli.store.swap import finish_swap

__all__ = ["KINDS", "MACHINE", "PICTURES", "REPORTS", "Project", "check_name", "is_project_folder", "maker"]

REPORTS = "reports"
KINDS = (
    *("features", "align", "cut", "color", "segment", "trace", "concepts", "score", "probe", "pathways"),
    *("compare", "tree", REPORTS),
)
MACHINE = ".alignedcut"
PICTURES = "pictures"
_SUFFIXES = {"features": "", REPORTS: ".html"}
_COMMANDS = {"features": "extract", REPORTS: "report"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


def _suffix(kind: str) -> str:
    """The suffix of the file names of a kind's artifacts; features are folders."""
    return _SUFFIXES.get(kind, ".safetensors")


def _is_folder(kind: str, path: Path) -> bool:
    """Whether a path is an artifact in shards, of a kind that may also be a single file."""
    return kind not in _SUFFIXES and is_artifact_folder(path)


def maker(kind: str) -> str:
    """The command that makes artifacts of a kind."""
    return _COMMANDS.get(kind, kind)


def check_name(name: str) -> str:
    """The name itself if it is valid for an artifact; UsageError otherwise."""
    if not _NAME.fullmatch(name) or name.endswith((".safetensors", ".html")):
        raise UsageError(
            "bad-name",
            f"{name!r} cannot name an artifact",
            "Use letters, digits, '.', '_', '+' and '-', beginning with a letter or a digit",
        )
    return name


def is_project_folder(folder: Path) -> bool:
    """Whether a folder is one of a project's own (KIND/ of artifacts), or is in pictures/KIND/.

    Other content of pictures/ is the user's.
    """
    real = folder.resolve()
    made = (real.parent,) if real.name in KINDS else ()
    drawn = (
        part.parent.parent for part in (real, *real.parents) if part.name in KINDS and _holds_pictures(part.parent)
    )
    return any(_is_project(root) for root in (*made, *drawn))


def _is_project(folder: Path) -> bool:
    """Whether a folder is a project, or a copy of one that lost its hidden folder."""
    artifacts = (there for kind in KINDS for there in (f"{kind}/*.safetensors", f"{kind}/*/{INDEX}"))
    return (folder / MACHINE).is_dir() or any(next(folder.glob(there), None) for there in artifacts)


def _holds_pictures(folder: Path) -> bool:
    """Whether a folder is named like the pictures' folder, in any case, as on a Mac's file system."""
    return folder.name.lower() == PICTURES


@dataclass(frozen=True)
class Project:
    """Paths and look-ups in a project directory; nothing is cached."""

    root: Path

    def create(self) -> Project:
        """Create the project's directory, if it does not exist yet."""
        make_folder(self.root / MACHINE)
        return self

    def path(self, kind: str, name: str) -> Path:
        """The file of an artifact, or its folder if it is in shards, as features always are."""
        folder = self.root / kind / name
        return folder if _is_folder(kind, folder) else self.root / kind / f"{name}{_suffix(kind)}"

    def file(self, kind: str, name: str) -> Path | None:
        """The file of an artifact of a kind that may be a single file or in shards; None for other kinds."""
        return None if kind in _SUFFIXES else self.root / kind / f"{name}{_suffix(kind)}"

    def header_path(self, kind: str, name: str) -> Path:
        """The file that holds an artifact's header."""
        path = self.path(kind, name)
        return path / INDEX if path.name == name else path

    def pictures(self, kind: str, name: str) -> Path:
        return self.root / PICTURES / kind / name

    def reference(self, kind: str, name: str) -> str:
        """An artifact's reference on the command line."""
        return f"{kind}/{name}"

    def names(self, kind: str) -> list[str]:
        """The names of the artifacts of a kind, sorted; hidden files (work in progress) do not count."""
        folder = self.root / kind
        if not folder.is_dir():
            return []
        if kind == "features":
            return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        suffix = _suffix(kind)
        there = (path.name for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))
        sharded = (path.name for path in folder.iterdir() if _is_folder(kind, path))
        return sorted({*(name.removesuffix(suffix) for name in there), *sharded})

    def header(self, kind: str, name: str) -> Header:
        """The checked header of an artifact, under its current name. Raises InputMissingError or DataError."""
        self.require(kind, name)
        path = self.path(kind, name)
        read = {"features": read_index, REPORTS: read_page}.get(kind, read_header)
        found = read(path)
        if found.kind != kind:
            raise DataError("wrong-kind", f"{path} holds a {found.kind} artifact", f"Move it to {found.kind}/")
        return Header({**found.raw, "name": name})

    def require(self, kind: str, name: str) -> None:
        """Raise InputMissingError (exit 66), naming the existing artifacts, if this one does not exist."""
        if self.header_path(kind, name).is_file():
            return
        self.require_project()
        there = ", ".join(self.names(kind)) or "none"
        raise InputMissingError(
            "artifact-missing", f"there is no {kind}/{name} in {self.root}", f"Give one of: {there}", available=there
        )

    def require_project(self) -> None:
        """Raise InputMissingError (exit 66) if the directory holds no project."""
        kinds = (kind for kind in KINDS if kind != REPORTS)  # other programs make folders of that name, too
        if not (self.root / MACHINE).is_dir() and not any((self.root / kind).is_dir() for kind in kinds):
            raise InputMissingError(
                "no-project",
                f"{self.root} holds no alignedcut project",
                "Give its directory with --project, or begin one with alignedcut extract",
            )

    def parse(self, reference: str, kind: str | None = None) -> tuple[str, str]:
        """(kind, name) of `kind/name`, of a bare name where the kind is known or the name is unique, or of a path."""
        text = reference.removesuffix("/").removesuffix(".safetensors").removesuffix(".html")
        head, _, name = text.rpartition("/")
        given = Path(head).name if head else None
        if given in KINDS:
            if kind and given != kind:
                raise UsageError("wrong-kind", f"{reference} is not of kind {kind}", f"Give {kind}/NAME")
            return given, check_name(name)
        if head:
            raise UsageError("bad-reference", f"{reference!r} names no artifact", f"Give {kind or 'KIND'}/NAME")
        check_name(name)
        if kind:
            return kind, name
        return self._unique(name)

    def _unique(self, name: str) -> tuple[str, str]:
        self.require_project()
        kinds = [kind for kind in KINDS if self.header_path(kind, name).is_file()]
        if len(kinds) == 1:
            return kinds[0], name
        if kinds:
            options = ", ".join(f"{kind}/{name}" for kind in kinds)
            raise UsageError("ambiguous-name", f"{name!r} names several artifacts", f"Give one of: {options}")
        there = ", ".join(f"{kind}/{found}" for kind in KINDS for found in self.names(kind)) or "none"
        raise InputMissingError("artifact-missing", f"there is no {name!r} in {self.root}", f"Give one of: {there}")

    def only(self, kind: str) -> str:
        """The name of the one artifact of a kind; InputMissingError if there is none, UsageError if there are several."""
        self.require_project()
        names = self.names(kind)
        if len(names) == 1:
            return names[0]
        if not names:
            raise InputMissingError(
                "artifact-missing", f"there is no {kind} artifact in {self.root}", f"Make one first: see {MAKERS[kind]}"
            )
        raise UsageError(
            "ambiguous-input",
            f"there are {len(names)} {kind} artifacts: {', '.join(names)}",
            f"Choose with --from {kind}/NAME",
        )

    def input(self, role: str, kind: str, name: str) -> tuple[Input, Header]:
        """An artifact as the input of a recipe, with its header."""
        header = self.header(kind, name)
        return Input(role, kind, name, header.content, header.recipe), header

    def lock_path(self, kind: str, name: str) -> Path:
        return self.root / MACHINE / "locks" / f"{kind}-{name}.lock"

    def parts_folder(self, kind: str, name: str) -> Path:
        """The folder of an artifact's parts while it is in the making."""
        return self.root / kind / f".{name}.parts"

    def kept_path(self, kind: str, name: str) -> Path:
        """The checkpoint file of a long run, from which the same command resumes."""
        return self.root / MACHINE / "kept" / f"{kind}-{name}.safetensors"

    def kept_names(self, kind: str) -> list[str]:
        """The artifacts of a kind with a checkpoint of an interrupted run, sorted."""
        folder = self.kept_path(kind, "").parent
        return sorted(path.stem.removeprefix(f"{kind}-") for path in folder.glob(f"{kind}-*.safetensors"))

    @contextmanager
    def writing(self, kind: str, name: str) -> Iterator[None]:
        """Hold the lock of an artifact for the block, and first remove a killed writer's files. Raises LockedError."""
        with hold(self.lock_path(kind, name), f"{kind}/{name}"):
            if file := self.file(kind, name):
                finish_swap(self.root / kind / name, file)
            for path in self.temporaries(kind, name) + abandoned(self.parts_folder(kind, name)):
                remove(path)
            yield

    def temporaries(self, kind: str, name: str) -> list[Path]:
        """The temporary files of an artifact that are its current writer's, or nobody's, and a file that does not count."""
        folder = self.root / kind
        if kind == "features":
            return abandoned(folder / f".{name}.partial")
        pattern = re.compile(
            re.escape(f".{name}{_suffix(kind)}.") + r"(?:[A-Za-z0-9-]+\.)?\d+" + re.escape(TEMPORARY_SUFFIX)
        )
        found = [path for path in folder.glob(f".*{TEMPORARY_SUFFIX}") if pattern.fullmatch(path.name)]
        return sorted([*found, *self.hidden(kind, name)])

    def hidden(self, kind: str, name: str) -> list[Path]:
        """The file that was to replace a folder of shards, if its writer was killed before: the folder still stands."""
        file = self.file(kind, name)
        return [file] if file and file.is_file() and self.path(kind, name) != file else []

    def is_being_written(self, kind: str, name: str) -> bool:
        return is_held(self.lock_path(kind, name))


MAKERS = {kind: f"alignedcut {maker(kind)} --help" for kind in KINDS}
