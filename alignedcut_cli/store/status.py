"""The state of each artifact of a project, why, and which command repairs it. Reads headers only."""

from __future__ import annotations

from dataclasses import dataclass

from alignedcut_cli.errors import AlignedcutError
from alignedcut_cli.store.artifact import layouts_of
from alignedcut_cli.store.features import FeatureSet
from alignedcut_cli.store.header import Header
from alignedcut_cli.store.journal import Journal
from alignedcut_cli.store.parts import count_parts, parts_names
from alignedcut_cli.store.project import KINDS, Project
from alignedcut_cli.store.swap import partial_progress

__all__ = ["ArtifactState", "project_states"]


@dataclass(frozen=True)
class ArtifactState:
    """One artifact: `state` is fresh, stale, partial, corrupt or missing; `repair` is a shell command or ""."""

    kind: str
    name: str
    state: str
    reason: str = ""
    repair: str = ""
    recipe: str = ""
    content: str = ""

    @property
    def reference(self) -> str:
        return f"{self.kind}/{self.name}"


def project_states(project: Project) -> list[ArtifactState]:
    """The state of every artifact, in the order of the chain; deleted inputs are listed as missing.

    An artifact is stale if an input has changed since it was read, or is itself stale, corrupt or missing.
    """
    project.require_project()
    journal = Journal(project)
    headers: dict[tuple[str, str], Header] = {}
    states: dict[tuple[str, str], ArtifactState] = {}
    for kind in KINDS:
        for name in project.names(kind):
            states[kind, name] = _state_alone(project, journal, headers, kind, name)
        for state in _partials(project, journal, kind):
            states.setdefault((kind, state.name), state)
    for key in [key for kind in KINDS for key in states if key[0] == kind]:
        if key in headers:
            states[key] = _state_with_inputs(journal, headers, states, states[key])
    missing = _missing_inputs(journal, headers, states)
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted([*states.values(), *missing], key=lambda state: (order.get(state.kind, 99), state.name))


def _state_alone(
    project: Project, journal: Journal, headers: dict[tuple[str, str], Header], kind: str, name: str
) -> ArtifactState:
    try:
        header = project.header(kind, name)
        if kind == "features":
            _ = FeatureSet(project.path(kind, name)).layouts  # every shard exists, is intact, and belongs to this set
        elif "shards" in header.raw:
            layouts_of(project.path(kind, name))
    except AlignedcutError as error:
        return ArtifactState(kind, name, "corrupt", error.message, journal.command(kind, name, overwrite=True))
    headers[kind, name] = header
    return ArtifactState(kind, name, "fresh", recipe=header.recipe, content=header.content)


def _partials(project: Project, journal: Journal, kind: str) -> list[ArtifactState]:
    folder = project.root / kind
    found = []
    for name in project.kept_names(kind):
        reason = "interrupted, what it has is kept"
        found.append(ArtifactState(kind, name, "partial", reason, journal.command(kind, name, overwrite=False)))
    for name in parts_names(project, kind):
        reason = f"{count_parts(project, kind, name)} files{_being_written(project, kind, name)}"
        found.append(ArtifactState(kind, name, "partial", reason, journal.command(kind, name, overwrite=False)))
    for path in sorted(folder.glob(".*.partial")):
        name = path.name[1:].removesuffix(".partial")
        progress = partial_progress(folder / name)
        if progress:
            reason = f"{progress[0]}/{progress[1]} shards{_being_written(project, kind, name)}"
            found.append(ArtifactState(kind, name, "partial", reason, journal.command(kind, name, overwrite=False)))
    return found


def _being_written(project: Project, kind: str, name: str) -> str:
    return " (being written)" if project.is_being_written(kind, name) else ""


def _state_with_inputs(
    journal: Journal,
    headers: dict[tuple[str, str], Header],
    states: dict[tuple[str, str], ArtifactState],
    state: ArtifactState,
) -> ArtifactState:
    for given in headers[state.kind, state.name].inputs:
        upstream = states.get((given.kind, given.name))
        if upstream is None:
            reason = f"its input {given.kind}/{given.name} is gone"
        elif upstream.state != "fresh":
            reason = f"its input {upstream.reference} is {upstream.state}"
        elif upstream.content != given.content:
            reason = f"its input {upstream.reference} has changed since"
        else:
            continue
        repair = journal.command(state.kind, state.name, overwrite=True)
        return ArtifactState(state.kind, state.name, "stale", reason, repair, state.recipe, state.content)
    return state


def _missing_inputs(
    journal: Journal, headers: dict[tuple[str, str], Header], states: dict[tuple[str, str], ArtifactState]
) -> list[ArtifactState]:
    wanted: dict[tuple[str, str], list[str]] = {}
    for (kind, name), header in headers.items():
        for given in header.inputs:
            if (given.kind, given.name) not in states:
                wanted.setdefault((given.kind, given.name), []).append(f"{kind}/{name}")
    return [
        ArtifactState(
            kind, name, "missing", f"read by {', '.join(readers)}", journal.command(kind, name, overwrite=False)
        )
        for (kind, name), readers in wanted.items()
    ]
