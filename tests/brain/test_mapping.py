"""The pickled names of ROIs: what numpy writes is read, everything else is refused, and nothing is ever run."""

from __future__ import annotations

import os
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignedcut_cli.brain.mapping import read_mapping
from alignedcut_cli.errors import DataError

NAMES = {0: "Unknown", 1: "V1v", 300: "FFA-1", 70000: "Größe"}
PROTOCOL = b"\x80\x04"


def npy(pickled: bytes, descr: str = "|O", shape: str = "()") -> bytes:
    """A pickle behind the header that numpy.save writes for an object."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + pickled


def pickled(value: Any, protocol: int = 4) -> bytes:
    return pickle.dumps(np.array(value, dtype=object), protocol=protocol)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "mapping_floc-faces.npy"
    path.write_bytes(content)
    return path


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


# what numpy writes


def test_what_numpy_saves_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", NAMES, allow_pickle=True)  # type: ignore[arg-type]
    assert read_mapping(tmp_path / "m.npy") == NAMES


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_both_spellings_of_numpy_are_read(tmp_path: Path, protocol: int) -> None:
    data = pickled(NAMES, protocol)
    assert read_mapping(written(tmp_path, npy(data))) == NAMES
    if protocol < 4:
        old = data.replace(b"numpy._core.", b"numpy.core.")
        assert read_mapping(written(tmp_path, npy(old))) == NAMES


@pytest.mark.parametrize("kind", ["<i8", ">i4", "u1", "<i2"])
@pytest.mark.parametrize("text", ["<U5", ">U3", "str"])
def test_numpy_scalars_become_int_and_str(tmp_path: Path, kind: str, text: str) -> None:
    keys = np.array([0, 7, 100]).astype(kind)
    names = [name if text == "str" else np.array([name], text)[0] for name in ("a", "V4", "abc")]
    found = read_mapping(written(tmp_path, npy(pickled(dict(zip(keys, names, strict=True))))))
    assert found == {0: "a", 7: "V4", 100: "abc"}
    assert all(type(key) is int and type(name) is str for key, name in found.items())


def test_negative_labels_are_read(tmp_path: Path) -> None:
    assert read_mapping(written(tmp_path, npy(pickled({np.int64(-3): "a", -1: "b"})))) == {-3: "a", -1: "b"}


# what is refused


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("place", ["bare", "in the array", "a value", "a key", "deep"])
def test_code_is_named_and_never_runs(tmp_path: Path, protocol: int, place: str) -> None:
    canary = tmp_path / "canary"
    evil = Calls(os.system, f"touch {canary}")
    value = {"a value": {0: evil}, "a key": {evil: "a"}, "deep": {0: "a", 1: [({2: evil},)]}}.get(place, evil)
    data = pickle.dumps(value, protocol) if place == "bare" else pickled(value, protocol)
    with pytest.raises(DataError, match=r"asks for '(posix|nt)\.system'") as caught:
        read_mapping(written(tmp_path, npy(data)))
    assert (caught.value.code, caught.value.exit_status) == ("pickle-refused", 65)
    assert not canary.exists()
    pickle.loads(data)  # else the test would prove nothing
    assert canary.exists()


@pytest.mark.parametrize(
    "evil",
    [
        Calls(eval, "1"),
        Calls(getattr, "a", "upper"),
        Calls(__import__, "os"),
        Calls(np.ones, 3),
        Calls(np.load, "x.npy"),
        Calls(bytearray, 3),
        Calls(Path, "x"),
        {0, 1},
        3.5,
        complex(1, 2),
        np.float64(1.0),
        np.arange(3),
        np.dtype("i4"),
        b"bytes",
        [1, 2],
        {0: "a"},
        None,
        True,
    ],
    ids=lambda evil: type(evil).__name__,
)
def test_values_of_other_kinds_are_no_names(tmp_path: Path, evil: Any) -> None:
    for data in (pickled({0: evil}), pickle.dumps({0: evil})):
        with pytest.raises(DataError) as caught:
            read_mapping(written(tmp_path, npy(data)))
        assert caught.value.code in ("pickle-refused", "mapping-unreadable")


HUGE = struct.pack("<Q", 1 << 40)
TEXT = b"\x8c\x07ndarray"
MULTIARRAY = b"\x8c\x16numpy._core.multiarray"
ARRAY = MULTIARRAY + b"\x8c\x0c_reconstruct\x93\x8c\x05numpy" + TEXT + b"\x93"
BOMBS = {
    "bytes of 1 TiB": b"\x8e" + HUGE + b"x.",
    "bytearray of 1 TiB": b"\x96" + HUGE + b"x.",
    "text of 1 TiB": b"\x8d" + HUGE + b"x.",
    "text of 4 GiB": b"X\xff\xff\xff\xffx.",
    "frame of 1 TiB": b"\x95" + HUGE + b"N.",
    "memo of 4 billion": b"Nr\xff\xff\xff\xff.",
    "array of a trillion": ARRAY + b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85C\x01b\x87R.",
    "text scalar of a million": MULTIARRAY + b"\x8c\x06scalar\x93\x8c\x05numpy\x8c\x05dtype\x93\x8c\x08U9999999"
    b"\x89\x88\x87RC\x01a\x86R.",
    "hash of 2**200 tuples": b"})" + b"\x94h\x00h\x00\x86" + b"".join(b"\x94h%ch%c\x86" % (i, i) for i in range(1, 200))
    + b"\x8c\x01as.",
    "200,000 nested tuples": b"})" + b"\x85" * 200_000 + b"\x8c\x01as.",
    "200,000 nested lists": b"(" * 200_000 + b"l" * 200_000 + b".",
    "attributes of a global": ARRAY + b"N}\x8c\x08__call__K\x01s\x86b.",
    "a class instance": b"\x8c\x08builtins\x8c\x06object\x93)\x81.",
    "old instance": b"(ios\nsystem\n.",
    "persistent id": b"Phello\n.",
    "extension": b"\x82\x01.",
    "buffer": b"\x97.",
    "an int of many digits": b"I" + b"9" * 100_000 + b"\n.",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_cost_neither_memory_nor_time(tmp_path: Path, bomb: str) -> None:
    path = written(tmp_path, npy(PROTOCOL + BOMBS[bomb]))
    started = time.process_time()
    with pytest.raises(DataError) as caught:
        read_mapping(path)
    assert caught.value.code in ("pickle-refused", "mapping-unreadable")
    assert time.process_time() - started < 2


def test_a_file_longer_than_any_list_of_names_is_refused(tmp_path: Path) -> None:
    big = dict.fromkeys(range(300_000), "x")
    with pytest.raises(DataError, match="1 MiB"):
        read_mapping(written(tmp_path, npy(pickled(big))))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not numpy",
        pickle.dumps({0: "a"}),
        npy(pickled({0: "a"}), shape="(1,)"),
        npy(pickled({0: "a"}), descr="<i8"),
        npy(pickled({0: "a"}), descr="<q9"),
        npy(pickle.dumps({0: "a"})),
        npy(pickled({})),
        npy(pickled({"a": 0})),
        npy(b"."),
        npy(b""),
        npy(b"\x80\x04u."),
        npy(b"\x80\x04h\x09."),
        b"\x93NUMPY\x09\x00\x00\x00",
        b"\x93NUMPY\x01\x00\xff\xff{",
    ],
)
def test_other_files_are_told_in_words(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError) as caught:
        read_mapping(written(tmp_path, content))
    assert caught.value.code in ("mapping-unreadable", "npy-unreadable")


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = npy(pickled(NAMES))
    for length in range(len(whole)):
        with pytest.raises(DataError):
            read_mapping(written(tmp_path, whole[:length]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_changed_at_random_give_names_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    whole = bytearray(pickled({np.int64(0): "Unknown", 1: np.str_("V1v")}))
    places = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, min_size=1, max_size=6)):
        whole[place] = value
    path = written(tmp_path_factory.mktemp("flip"), npy(bytes(whole)))
    try:
        found = read_mapping(path)
    except DataError:
        return
    assert all(type(key) is int and type(name) is str for key, name in found.items())
