"""One artifact in one file: the same bytes, whole or not at all, and nothing damaged is ever read as good."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from alignedcut_cli.errors import AlignedcutError, DataError, DiskError, InputMissingError, PermissionDeniedError
from alignedcut_cli.store.artifact import load_tensors, read_header, write_artifact, write_tensors
from alignedcut_cli.store.canonical import canonical_json, digest, file_digest, tensor_digest
from alignedcut_cli.store.files import TEMPORARY_SUFFIX, writing_text
from alignedcut_cli.store.header import KEY, Recipe, header_from
from tests.helpers.forks import ROOT, fresh_python
from tests.helpers.stores import WRITER

MEANINGS = {"rows": ("M C", "some rows"), "ids": ("m", "some ids"), "none": ("G", "nothing")}
AXES = {"M": {"size": 5}, "C": {"size": 3}, "m": {"size": 4}, "G": {"size": 0}}
DTYPES = ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "|u1", "|b1")


def some_tensors() -> dict[str, np.ndarray]:
    return {
        "rows": np.arange(15, dtype=np.float16).reshape(5, 3),
        "ids": np.arange(4, dtype=np.int64),
        "none": np.zeros(0, np.float32),
    }


def write_some(path: Path, **params: Any) -> None:
    """An artifact with every kind of parameter."""
    recipe = Recipe("cut", path.stem, 1, {"gamma": 0.30000000000000004, "space": "raw", "layers": [[0, 1]], **params})
    write_artifact(path, recipe, some_tensors(), MEANINGS, axes=AXES, numerics={"device": "cpu"})


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "cut" / "one.safetensors"
    write_some(path)
    return path


def test_round_trip(artifact: Path) -> None:
    header, tensors = load_tensors(artifact)
    assert (header.kind, header.name, header.params["gamma"]) == ("cut", "one", 0.30000000000000004)
    assert header.content == tensor_digest(some_tensors())
    assert [node["recipe"] for node in header.history] == [header.recipe]
    for name, wanted in some_tensors().items():
        assert tensors[name].dtype == wanted.dtype
        np.testing.assert_array_equal(tensors[name], wanted)
    assert read_header(artifact) == header


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_round_trips(tmp_path: Path, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    path = tmp_path / "a.safetensors"
    write_artifact(path, Recipe("cut", "a", 1, {}), {"a": array}, {"a": ("M C", "")}, axes={}, numerics={})
    read = load_tensors(path)[1]["a"]
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_it_opens_with_plain_safetensors_and_has_one_key(artifact: Path) -> None:
    from safetensors import safe_open

    with safe_open(artifact, "np") as opened:
        assert list(opened.metadata()) == ["alignedcut"]
        assert json.loads(opened.metadata()["alignedcut"])["kind"] == "cut"
        np.testing.assert_array_equal(opened.get_tensor("rows"), some_tensors()["rows"])


def test_same_tensors_same_bytes_in_any_process(artifact: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "from pathlib import Path; from tests.store.test_artifact import write_some\nwrite_some(Path(sys.argv[1]))"
    for seed in ("1", "4242"):
        other = tmp_path / seed / "one.safetensors"
        subprocess.run([sys.executable, "-c", code, other], check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        assert other.read_bytes() == artifact.read_bytes()


def test_order_and_layout_of_what_is_written_change_no_byte(tmp_path: Path, artifact: Path) -> None:
    header, tensors = load_tensors(artifact)
    turned = {name: np.asfortranarray(tensors[name]) for name in reversed(tensors)}
    raw = dict(reversed(list(header.raw.items())))
    other = tmp_path / "two.safetensors"
    write_tensors(other, turned, {**raw, "check": digest(dict(header.raw))})
    assert other.read_bytes() == artifact.read_bytes()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_is_respected(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_some(tmp_path / "a.safetensors")
        writing_text(tmp_path / "a.txt", "text")
    finally:
        assert os.umask(before) == mask
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode


def _raise(error: BaseException) -> Callable[..., Any]:
    def failing(*_args: object, **_kwargs: object) -> Any:
        raise error

    return failing


def _half_written(error: BaseException) -> Callable[..., None]:
    def failing(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise error

    return failing


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (RuntimeError("odd"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), DiskError),
        (OSError(errno.EDQUOT, "Quota exceeded"), DiskError),
        (OSError(errno.EACCES, "Permission denied"), PermissionDeniedError),
        (OSError(errno.EROFS, "Read-only file system"), PermissionDeniedError),
    ],
)
def test_a_failing_save_leaves_the_old_file_and_nothing_else(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, wanted: type[BaseException]
) -> None:
    before = artifact.read_bytes()
    monkeypatch.setattr(WRITER, _half_written(error))
    with pytest.raises(wanted):
        write_some(artifact, other=1)
    assert artifact.read_bytes() == before
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
)
def test_files_are_those_of_the_safetensors_library(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, tuple[str, list[int]]], told: str
) -> None:
    draws, folder = np.random.default_rng(0), tmp_path_factory.getbasetemp()
    tensors = {name: draws.integers(0, 2, shape).astype(kind) for name, (kind, shape) in shapes.items()}
    tensors.pop("__metadata__", None)
    write_tensors(folder / "ours.safetensors", tensors, {"told": told})
    save_file(tensors, folder / "theirs.safetensors", metadata={KEY: canonical_json({"told": told})})
    assert (folder / "ours.safetensors").read_bytes() == (folder / "theirs.safetensors").read_bytes()


def test_slices_and_large_tensors_are_written_as_they_are_read(tmp_path: Path) -> None:
    """Not contiguous, of one piece and a little more, and mapped."""
    whole = np.arange((2 << 20) + 10, dtype="<i4")
    write_tensors(tmp_path / "a.safetensors", {"part": whole[::2], "turned": whole[:12].reshape(3, 4).T}, {})
    there = load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(there["part"], whole[::2])
    np.testing.assert_array_equal(there["turned"], whole[:12].reshape(3, 4).T)
    np.save(tmp_path / "mapped.npy", whole)
    write_tensors(tmp_path / "b.safetensors", {"part": np.load(tmp_path / "mapped.npy", mmap_mode="r")[::2]}, {})
    np.testing.assert_array_equal(load_file(tmp_path / "b.safetensors")["part"], whole[::2])


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
def test_a_failing_step_after_the_save_leaves_the_old_file(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = artifact.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(step, _raise(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(DiskError, match="Input/output error"):
            write_some(artifact, other=1)
    assert artifact.read_bytes() == before
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


def test_a_disk_that_is_really_full_is_told_as_such(tmp_path: Path) -> None:
    """Here by a limit on file sizes."""
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
from pathlib import Path
import numpy as np
from alignedcut_cli.errors import DiskError
from alignedcut_cli.store.artifact import write_tensors
try:
    write_tensors(Path(sys.argv[1]), {"a": np.zeros(100_000)}, {})
except DiskError as error:
    print(error.code, error)
"""
    path = tmp_path / "a.safetensors"
    done = fresh_python(code, path)
    done.check_returncode()
    assert done.stdout == f"disk-full {path}: File too large\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "cut").write_text("in the way")
    with pytest.raises(AlignedcutError) as caught:
        write_some(tmp_path / "cut" / "one.safetensors")
    assert isinstance(caught.value, DiskError)


# reading what is damaged


def test_truncated_at_every_interesting_offset(artifact: Path) -> None:
    whole = artifact.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    offsets = {0, 1, 7, 8, 9, header // 2, header - 1, header, header + 1, len(whole) - 1, *range(header, len(whole))}
    for offset in sorted(offsets):
        artifact.write_bytes(whole[:offset])
        with pytest.raises(DataError) as caught:
            read_header(artifact)
        assert caught.value.code == ("artifact-truncated" if offset >= header else "artifact-foreign"), offset
    artifact.write_bytes(whole + b"\0")
    with pytest.raises(DataError, match="1 bytes too many"):
        read_header(artifact)


def _require_refused_or_same(path: Path) -> bool:
    """True if reading is refused with a DataError, False if it gives what was written; anything else fails."""
    wanted = some_tensors()
    try:
        header, tensors = load_tensors(path)
    except DataError:
        return True
    assert (header.kind, header.name, header.content) == ("cut", "one", tensor_digest(wanted))
    assert tensors.keys() == wanted.keys()
    assert all(tensors[name].tobytes() == wanted[name].tobytes() for name in wanted)
    assert all(tensors[name].dtype == wanted[name].dtype for name in wanted)
    return False


def test_each_flipped_byte_of_the_header(artifact: Path) -> None:
    """Every byte of the header turned once, by a seeded mask: refused, or (white space) of no consequence."""
    whole = artifact.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    masks = random.Random(0)
    harmless = 0
    for offset in range(end):
        damaged = bytearray(whole)
        damaged[offset] ^= masks.randrange(1, 256)
        artifact.write_bytes(damaged)
        harmless += not _require_refused_or_same(artifact)
    assert harmless < 0.02 * end


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_flipped_byte(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped" / "one.safetensors"
    if not path.exists():
        write_some(path)
        path.with_suffix(".whole").write_bytes(path.read_bytes())
    whole = path.with_suffix(".whole").read_bytes()
    offset = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[offset] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    refused = _require_refused_or_same(path)
    assert refused or offset < 8 + int.from_bytes(whole[:8], "little"), "a flipped data byte must be refused"


def _safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


NO_NUMBER = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "artifact-foreign"),
        (b"PK\3\4 something else altogether", "artifact-foreign"),
        ((1 << 63).to_bytes(8, "little") + b"{}", "artifact-foreign"),
        ((99_999_999).to_bytes(8, "little") + b"{}", "artifact-foreign"),
        ((2**64 - 1).to_bytes(8, "little"), "artifact-foreign"),
        (_safetensors(b"not json"), "artifact-foreign"),
        (_safetensors(b"\xff\xfe\xfd"), "artifact-foreign"),
        (_safetensors(b"[" * 100_000), "artifact-foreign"),
        (_safetensors([]), "artifact-foreign"),
        (_safetensors({"__metadata__": []}), "artifact-foreign"),
        (_safetensors({"__metadata__": None}), "artifact-foreign"),
        (_safetensors({}), "artifact-foreign"),
        (_safetensors({"a": NO_NUMBER}, bytes(8)), "artifact-foreign"),
        (_safetensors({"a": {**NO_NUMBER, "dtype": "F8_E4M3"}}, bytes(8)), "artifact-foreign"),
        (_safetensors({"a": {**NO_NUMBER, "shape": [-2]}}, bytes(8)), "artifact-foreign"),
        (_safetensors({"a": {**NO_NUMBER, "data_offsets": [4, 8]}}, bytes(8)), "artifact-foreign"),
        (_safetensors({"a": {**NO_NUMBER, "data_offsets": [-8, 0]}}, bytes(8)), "artifact-foreign"),
        (_safetensors({"a": {**NO_NUMBER, "data_offsets": [8, 0]}}, bytes(8)), "artifact-foreign"),
        (_safetensors({"a": {**NO_NUMBER, "data_offsets": "08"}}, bytes(8)), "artifact-foreign"),
        (_safetensors({"__metadata__": {"alignedcut": "no json"}}), "artifact-corrupt"),
        (_safetensors({"__metadata__": {"alignedcut": 7}}), "artifact-corrupt"),
        (_safetensors({"__metadata__": {"alignedcut": "[" * 100_000}}), "artifact-corrupt"),
        (_safetensors({"__metadata__": {"alignedcut": "[]"}}), "artifact-foreign"),
        (_safetensors({"__metadata__": {"alignedcut": '{"schema": "1"}'}}), "artifact-foreign"),
        (_safetensors({"__metadata__": {"alignedcut": '{"schema": 2}'}}), "artifact-newer"),
        (_safetensors({"__metadata__": {"alignedcut": '{"schema": 1}'}}), "artifact-corrupt"),
        (_safetensors({"__metadata__": {"alignedcut": '{"schema": 1, "a": NaN}'}}), "artifact-corrupt"),
    ],
)
def test_foreign_damaged_and_newer_files_each_get_their_own_error(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "one.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_tensors(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message


def test_a_header_with_a_right_checksum_and_nothing_in_it_is_refused() -> None:
    with pytest.raises(DataError, match="the header's kind is malformed"):
        header_from({"schema": 1, "check": digest({"schema": 1})}, "x")


def test_a_folder_or_nothing_in_place(tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("folder.safetensors", "none.safetensors"):
        with pytest.raises(InputMissingError):
            read_header(tmp_path / name)


# canonical JSON and digests

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def _shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(key, _shuffled(inner, order)) for key, inner in value.items()]
        order.shuffle(items)
        return dict(items)
    return [_shuffled(inner, order) for inner in value] if isinstance(value, list) else value


@given(json_values, st.integers(0, 1000))
def test_the_order_of_keys_is_irrelevant(value: Any, seed: int) -> None:
    text = canonical_json(value)
    assert canonical_json(_shuffled(value, random.Random(seed))) == text
    assert text.isascii()
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": [number]})


def test_the_tensor_digest_knows_values_and_not_memory() -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    wanted = tensor_digest({"a": array, "b": array})
    assert tensor_digest({"b": array, "a": array}) == wanted
    assert tensor_digest([("b", array), ("a", array)]) == wanted
    wide = np.repeat(array, 2, axis=1)
    for same in (np.asfortranarray(array), wide[:, ::2], array[::-1][::-1], array.T.copy().T):
        assert tensor_digest({"a": same, "b": array}) == wanted
    others = [
        {"a": array, "c": array},
        {"a": array},
        {"a": array.astype(np.float64), "b": array},
        {"a": array.view(np.int32), "b": array},
        {"a": array.reshape(6, 4), "b": array},
        {"a": array.reshape(4, 6, 1), "b": array},
        {"a": np.where(array == 23, np.nextafter(np.float32(23), np.float32(24)), array), "b": array},
        {"a": np.where(array == 0, np.float32(-0.0), array), "b": array},
        {},
    ]
    assert len({wanted, *(tensor_digest(other) for other in others)}) == len(others) + 1


@given(st.binary(max_size=64), st.integers(0, 63))
def test_the_tensor_digest_sees_every_byte(content: bytes, position: int) -> None:
    array = np.frombuffer(content, np.uint8)
    if position < len(content):
        changed = array.copy()
        changed[position] ^= 1
        assert tensor_digest({"a": changed}) != tensor_digest({"a": array})
    assert tensor_digest({"a": array}) == tensor_digest({"a": array.copy()})


def test_the_file_digest_is_sha256(tmp_path: Path) -> None:
    import hashlib

    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_temporary_names_are_hidden_and_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        Path, "write_text", lambda path, text, **_: seen.append(path.name) or path.write_bytes(text.encode())
    )
    writing_text(tmp_path / "a.txt", "text")
    assert len(seen) == 1
    assert re.fullmatch(rf"\.a\.txt\.[A-Za-z0-9-]+\.{os.getpid()}\{TEMPORARY_SUFFIX}", seen[0])
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
