"""Frames of a video, by number: those that a decoder gives from the beginning, however they are asked for."""

from __future__ import annotations

import builtins
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alignedcut_cli.datasets import video
from alignedcut_cli.datasets.find_images import find_images
from alignedcut_cli.datasets.images import decode, image_digest, read_manifest
from alignedcut_cli.errors import AlignedcutError, DataError, UnavailableError, UsageError
from alignedcut_cli.store.hashes import stamp
from tests.helpers.videos import shade_of, write_video

COUNT = 40
KINDS = {"mp4": "libx264", "mov": "mpeg4", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4"}


@pytest.fixture(scope="module", params=KINDS)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 40 frames in each container, most with frames that are stored in another order than they are shown."""
    path = tmp_path_factory.mktemp("films") / f"film.{request.param}"
    return write_video(path, COUNT, KINDS[request.param])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", 12, "mpeg4")


def numbers(argument: object) -> list[int]:
    return [int(path.name) for path in find_images([str(argument)], [])]


def failure(argument: object) -> AlignedcutError:
    with pytest.raises(AlignedcutError) as caught:
        decoded(argument)
    return caught.value


def decoded(argument: object) -> list[np.ndarray]:
    return [np.asarray(decode(path)) for path in find_images([str(argument)], [])]


def test_frames_are_named_and_decoded_in_the_order_in_which_they_are_shown(film: Path) -> None:
    paths = find_images([str(film)], [])
    assert [str(path) for path in paths[:2]] == [f"{film}/frames/00000", f"{film}/frames/00001"]
    assert [shade_of(np.asarray(decode(path))) for path in paths] == list(range(COUNT))


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=8))
def test_frames_in_any_order_are_those_that_a_decoder_gives_from_the_beginning(film: Path, wanted: list[int]) -> None:
    video._reader.cache_clear()
    with av.open(str(film)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for number in wanted:
        np.testing.assert_array_equal(video.read_pixels(film / "frames" / f"{number:05d}"), every[number])


def test_threads_may_ask_at_once(film: Path) -> None:
    video._reader.cache_clear()
    paths = find_images([str(film)], [])
    with ThreadPoolExecutor(4) as pool:
        assert [shade_of(found) for found in pool.map(video.read_pixels, paths)] == list(range(COUNT))


def test_pixels_of_a_lossless_film_are_its_own(tmp_path: Path) -> None:
    film = write_video(tmp_path / "exact.mkv", 5, "ffv1", "bgr0")
    for number, path in enumerate(find_images([str(film)], [])):
        assert np.unique(np.asarray(decode(path))).tolist() == [20 + 4 * number]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", list(range(12))),
        (":3", [3]),
        (":2-4", [2, 3, 4]),
        (":7,0,2-3", [7, 0, 2, 3]),
        (":0-11:5", [0, 5, 10]),
        (":1-4,8-11:2", [1, 3, 8, 10]),
        ("::4", [0, 4, 8]),
    ],
)
def test_ranges(clip: Path, text: str, found: list[int]) -> None:
    assert numbers(f"{clip}{text}") == found


@pytest.mark.parametrize("text", [":12", ":0-12", ":3-2", ":a", ":-1", ":0-5:0", ":0-5:x", ":0-5:2:1", ":1.5"])
def test_ranges_that_name_no_frames(clip: Path, text: str) -> None:
    error = failure(f"{clip}{text}")
    assert isinstance(error, UsageError) or error.code == "image-missing"


def test_the_manifest_hashes_pixels_and_knows_a_changed_file(clip: Path, tmp_path: Path) -> None:
    paths = find_images([f"{clip}:3,1"], [])
    manifest, bad = read_manifest(paths, lambda _: None, 2, lambda _: None)
    assert bad == [] and manifest.root == tmp_path
    assert [(one.path, one.width, one.height) for one in manifest.images] == [
        ("clip.mp4/frames/00003", 48, 32),
        ("clip.mp4/frames/00001", 48, 32),
    ]
    assert [image_digest(path) for path in paths] == [one.sha256 for one in manifest.images]
    assert stamp(paths[0]) == stamp(clip)
    write_video(clip, 3, "mpeg4", keys=1)
    assert numbers(clip) == [0, 1, 2]
    with pytest.raises(DataError, match="has no frame 3"):
        video.read_pixels(paths[0])


def test_a_folder_of_videos_says_that_they_are_read_by_name(clip: Path) -> None:
    error = failure(clip.parent)
    assert "videos, which are read where they are named themselves: 1" in error.message


def test_a_film_that_is_held_upright_is_turned(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Frame:
        rotation = -90

        def to_ndarray(self, **_: object) -> np.ndarray:
            return np.arange(6, dtype=np.uint8).reshape(1, 2, 3)

    assert video._upright(Frame()).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]  # clockwise: what was left is now above


HOSTILE = {
    "empty": b"",
    "text": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "noise": bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8)),
}


@pytest.mark.parametrize("suffix", sorted(video.SUFFIXES))
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    (path := tmp_path / f"film{suffix}").write_bytes(content)
    error = failure(path)
    assert isinstance(error, DataError) and error.code == "video-unreadable"
    assert path.name in error.message and "\n" not in error.message


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_cut_off_and_flipped_files_give_frames_or_one_error(clip: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(clip.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (path := tmp_path / "broken.mp4").write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with suppress(DataError):
        assert all(pixels.shape[2] == 3 for pixels in decoded(path))


def test_sound_alone_has_no_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    assert "has no pictures" in failure(tmp_path / "song.mp4").message


def test_frames_of_too_many_pixels_are_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MOST_PIXELS", 32 * 48 - 1)
    assert "of 48 x 32 pixels" in failure(clip).message


def test_without_the_extra_one_line_names_it(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    video._index.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    error = failure(clip)
    assert isinstance(error, UnavailableError) and "alignedcut[video]" in error.remedy
