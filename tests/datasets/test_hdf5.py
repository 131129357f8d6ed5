"""Images in an HDF5 file, as NSD ships its stimuli: the pixels of the data set, by number; other files are refused."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alignedcut_cli.datasets import hdf5
from alignedcut_cli.datasets.find_images import find_images
from alignedcut_cli.datasets.images import decode, image_digest, read_manifest
from alignedcut_cli.errors import AlignedcutError, DataError, UnavailableError, UsageError

COUNT, ROWS, COLUMNS = 12, 5, 7
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, ROWS, COLUMNS, 3), dtype=np.uint8)


@pytest.fixture
def stimuli(tmp_path: Path) -> Path:
    return written(tmp_path / "nsd_stimuli.hdf5", lambda file: file.create_dataset("imgBrick", data=PIXELS))


def written(path: Path, fill: Callable[[h5py.File], Any]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def numbers(argument: object) -> list[int]:
    return [int(path.name) for path in find_images([str(argument)], [])]


def failure(argument: object) -> AlignedcutError:
    with pytest.raises(AlignedcutError) as caught:
        find_images([str(argument)], [])
    return caught.value


def test_pixels_are_those_of_the_data_set(stimuli: Path) -> None:
    paths = find_images([str(stimuli)], [])
    assert [str(path) for path in paths[:2]] == [f"{stimuli}/imgBrick/00000", f"{stimuli}/imgBrick/00001"]
    for path, pixels in zip(paths, PIXELS, strict=True):
        np.testing.assert_array_equal(np.asarray(decode(path)), pixels)
        np.testing.assert_array_equal(np.asarray(decode(path, 2)), pixels)


def test_the_manifest_names_images_by_their_number_and_hashes_pixels(stimuli: Path, tmp_path: Path) -> None:
    manifest, bad = read_manifest(find_images([f"{stimuli}:3,1"], []), lambda _: None, 2, lambda _: None)
    assert bad == [] and manifest.root == tmp_path
    assert [image.as_object() for image in manifest.images] == [
        {
            "path": f"nsd_stimuli.hdf5/imgBrick/{number:05d}",
            "sha256": hashlib.sha256(PIXELS[number].tobytes()).hexdigest(),
            "bytes": ROWS * COLUMNS * 3,
            "width": COLUMNS,
            "height": ROWS,
        }
        for number in (3, 1)
    ]
    assert [image_digest(path) for path in manifest.paths()] == [image.sha256 for image in manifest.images]
    assert image_digest(tmp_path / "other.hdf5/imgBrick/00000") is None


def test_ranges(stimuli: Path, tmp_path: Path) -> None:
    assert numbers(stimuli) == list(range(COUNT))
    assert numbers(f"{stimuli}:0-2") == [0, 1, 2]
    assert numbers(f"{stimuli}:7,0,3-5,11") == [7, 0, 3, 4, 5, 11]
    assert [int(path.name) for path in find_images(["-"], [f"{stimuli}:5 \r\n", f"{stimuli}:1-2\n"])] == [5, 1, 2]
    upper = stimuli.rename(tmp_path / "a:b.H5")
    assert numbers(f"{upper}:4") == [4] and len(numbers(upper)) == COUNT


@pytest.mark.parametrize("asked", ["12", "0-12", "5-3", "-1", "0-", "x", "0,,1", "1-2-3", "²", "9" * 5000, "0 1"])
def test_ranges_that_cannot_be(stimuli: Path, asked: str) -> None:
    error = failure(f"{stimuli}:{asked}")
    assert (type(error), error.code) == (UsageError, "bad-range")


def test_an_image_twice(stimuli: Path) -> None:
    assert failure(f"{stimuli}:3,1-4").code == "image-twice"


@pytest.mark.parametrize(
    ("fill", "code", "words"),
    [
        (lambda file: file.create_dataset("other", data=PIXELS), "hdf5-layout", "no data set imgBrick (it holds 'other')"),
        (lambda file: file.create_group("imgBrick"), "hdf5-layout", "imgBrick is no data set"),
        (lambda file: file.create_dataset("imgBrick", data=PIXELS[0]), "hdf5-layout", "is uint8 of shape (5, 7, 3)"),
        (lambda file: file.create_dataset("imgBrick", data=PIXELS.transpose(0, 3, 1, 2)), "hdf5-layout", "(12, 3, 5, 7)"),
        (lambda file: file.create_dataset("imgBrick", data=PIXELS[:0]), "hdf5-layout", "(0, 5, 7, 3)"),
        (lambda file: file.create_dataset("imgBrick", data=PIXELS / 255), "hdf5-layout", "is float64 of shape"),
        (lambda file: file.create_dataset("imgBrick", data=h5py.Empty("u1")), "hdf5-layout", "is uint8 of shape ()"),
        (lambda file: file.create_dataset("imgBrick", (9, 1 << 14, 1 << 14, 3), "u1"), "hdf5-layout", "decompression bomb"),
        (
            lambda file: file.create_dataset("imgBrick", (1 << 30, 1, 1, 3), "u1", chunks=(1 << 28, 1, 1, 3)),
            "hdf5-layout",
            "decompression bomb",
        ),
        (lambda file: file.create_dataset("imgBrick", PIXELS.shape, "u1"), "hdf5-incomplete", "0% of imgBrick was written"),
        (
            lambda file: file.create_dataset("imgBrick", PIXELS.shape, "u1", chunks=(1, 5, 7, 3)).__setitem__(slice(3), 1),
            "hdf5-incomplete",
            "25% of imgBrick was written",
        ),
        (
            lambda file: file.create_dataset("imgBrick", PIXELS.shape, "u1", external=[("/etc/passwd", 0, 1 << 40)]),
            "hdf5-layout",
            "lies in other files",
        ),
        (
            lambda file: file.create_virtual_dataset("imgBrick", h5py.VirtualLayout(PIXELS.shape, "u1")),
            "hdf5-layout",
            "lies in other files",
        ),
        (lambda file: file.__setitem__("imgBrick", h5py.ExternalLink("else.h5", "x")), "hdf5-layout", "has no data set"),
        (lambda file: file.__setitem__("imgBrick", h5py.SoftLink("/nowhere")), "hdf5-layout", "has no data set"),
    ],
    ids=[
        "missing", "group", "one image", "channels first", "none", "float", "null", "large images", "large chunks",
        "unwritten", "partly written", "external", "virtual", "external link", "soft link",
    ],
)  # fmt: skip
def test_files_that_are_laid_out_otherwise(
    tmp_path: Path, fill: Callable[[h5py.File], Any], code: str, words: str
) -> None:
    error = failure(written(tmp_path / "a.hdf5", fill))
    assert (type(error), error.code) == (DataError, code) and words in error.message
    assert error.exit_status == 65


def test_too_many_images(tmp_path: Path) -> None:
    many = (1 << 20) + 1
    path = written(
        tmp_path / "a.h5", lambda file: file.create_dataset("imgBrick", data=np.zeros((many, 1, 1, 3), "u1"))
    )
    assert failure(path).code == "bad-range"
    assert numbers(f"{path}:{many - 1}") == [many - 1]


@pytest.mark.parametrize("kept", [0, 7, 100, 1500])
def test_cut_off_files(stimuli: Path, kept: int) -> None:
    stimuli.write_bytes(stimuli.read_bytes()[:kept])
    assert failure(stimuli).code == "hdf5-unreadable"


def test_text_and_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "a.hdf5").write_text("text")
    assert failure(tmp_path / "a.hdf5").code == "hdf5-unreadable"
    (tmp_path / "b.hdf5").mkdir()
    assert failure(tmp_path / "b.hdf5").code == "no-images"
    assert failure(f"{tmp_path}/none.hdf5:0-3").code == "image-missing"


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_refused_or_read_never_worse(stimuli: Path, data: st.DataObject) -> None:
    whole = bytearray(stimuli.read_bytes())
    for place in data.draw(st.lists(st.integers(0, min(len(whole), 2600) - 1), min_size=1, max_size=6)):
        whole[place] = data.draw(st.integers(0, 255))
    damaged = stimuli.with_name("damaged.hdf5")
    damaged.write_bytes(whole)
    with suppress(DataError, UsageError):
        read_manifest(find_images([f"{damaged}:0-3"], []), lambda _: None, 1, lambda _: None)


def test_a_chunk_that_cannot_be_read_is_a_bad_image(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        brick = file.create_dataset("imgBrick", PIXELS.shape, "u1", chunks=(1, 5, 7, 3), compression="gzip")
        brick[:] = PIXELS
        brick.id.write_direct_chunk((4, 0, 0, 0), b"no gzip stream")

    path = written(tmp_path / "a.hdf5", fill)
    manifest, bad = read_manifest(find_images([str(path)], []), lambda _: None, 2, lambda _: None)
    assert len(manifest.images) == COUNT - 1
    assert bad[0].path == path / "imgBrick" / "00004" and bad[0].reason.startswith("cannot be read: ")


def test_without_h5py(stimuli: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    error = failure(stimuli)
    assert (type(error), error.code, error.exit_status) == (UnavailableError, "no-h5py", 69)
    assert "pip install 'alignedcut[hdf5]'" in error.remedy


def test_which_paths_lie_inside() -> None:
    assert hdf5.number_of(Path("a/b.hdf5/imgBrick/00013")) == hdf5.number_of(Path("b.H5/imgBrick/13")) == 13
    for other in (
        "imgBrick/00013",
        "b.png/imgBrick/00013",
        "b.h5/other/13",
        "b.h5/imgBrick/x",
        "13",
        "",
        f"b.h5/imgBrick/{'1' * 5000}",
    ):
        assert hdf5.number_of(Path(other)) is None
