"""`alignedcut brain`: what a subject or table holds, as text and as an object."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli
from tests.helpers.brains import LEFT, RIGHT, fmri, make_subject, save, values
from tests.helpers.forks import ROOT


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    return make_subject(tmp_path / "subj03")


def test_a_subject_as_text(cli: Cli, subject: Path) -> None:
    (subject / "roi_masks/rh.streams_challenge_space.npy").unlink()
    run = cli("brain", subject)
    assert run.status == 0
    rows = [line.split("  ") for line in run.out.splitlines()]
    told = {row[0]: [cell.strip() for cell in row[1:] if cell] for row in rows if row[0]}
    assert told["source"] == [f"{subject} (Algonauts 2023 subject)"]
    assert told["images"] == ["6 training, 2 test"]
    assert told["voxels"] == ["9 (5 left, 4 right), 0 dropped"]
    assert told["ceiling"] == ["0.50 on average"]
    assert told["V1"] == ["5", "3", "2", "0.38"]
    assert told["PPA"] == ["1", "0", "1", "0.90"]
    assert "  roi_masks/rh.streams_challenge_space.npy is missing\n" in run.out
    assert "  no voxel in: mTL-bodies, OPA, OWFA, VWFA-1, VWFA-2, VWFA\n" in run.out
    assert run.err == f"alignedcut brain: reading {subject}, {4 * 128 + 4 * 8 * 9} B\n"
    assert cli("brain", subject, "-q").err == ""


def test_a_subject_as_an_object(cli: Cli, subject: Path) -> None:
    left = values("training", "lh")
    left[0, 1] = np.nan
    save(fmri(subject, "lh"), left)
    found = cli("brain", subject.parent, "--subject", "3", "--json").object
    assert found["schema"] == "alignedcut.brain/1"
    assert (found["path"], found["source"]) == (str(subject), "algonauts")
    assert found["images"] == {"training": 6, "test": 2}
    assert found["voxels"] == {"kept": 8, "left": LEFT - 1, "right": RIGHT, "dropped": [1]}
    assert {"name": "V1v", "voxels": 2, "left": 1, "right": 1, "ceiling": 0.4} in found["rois"]
    assert found["absent"][0] == "mTL-bodies" and len(found["identity"]) == 64
    assert found["notes"][0].startswith("1 of 9 voxels dropped")


def test_verbose_lists_every_dropped_column(cli: Cli, subject: Path) -> None:
    wide = np.random.default_rng(0).random((6, 40))
    wide[:, ::2] = 1
    save(fmri(subject, "lh"), wide)
    for folder in ("roi_masks", "noise_ceiling", "test_split"):
        shutil.rmtree(subject / folder)
    assert "columns 0, 2, 4, 6, 8 and 15 more" in cli("brain", subject).out
    listed = "dropped columns:\n  " + ", ".join(map(str, range(0, 40, 2))) + "\n"
    assert listed in cli("brain", subject, "-v").out and listed not in cli("brain", subject).out


def test_a_table_has_no_hemispheres(cli: Cli, brain_table: Path) -> None:
    run = cli("brain", brain_table)
    assert run.status == 0
    assert "20 training\n" in run.out and "6, 0 dropped\n" in run.out and "ROI" not in run.out
    found = cli("brain", brain_table, "--json").object
    assert found["voxels"] == {"kept": 6, "left": None, "right": None, "dropped": []}
    assert (found["ceiling"], found["rois"], found["notes"]) == (None, [], [])


VALUES = ["0.5,2,-1,7", "1.25,3,0,1", "2,5,1e-3,4", "-3.5,0,2,2"]


def lines(header: str, row: str) -> str:
    """A table: `row` with the number, the number from 1 and the values of each line in the place of {0}, {1} and {2}."""
    return "\n".join([header, *(row.format(number, number + 1, line) for number, line in enumerate(VALUES))])


PLAIN = lines("image,a,b,c,d", "s{0}.png,{2}")


@pytest.mark.parametrize(
    ("name", "text", "encoding", "told"),
    [
        (
            "semicolon.csv",
            PLAIN.replace(",", ";").replace(".", ",").replace(",png", ".png"),
            "utf-8-sig",
            "read as UTF-8 with a byte-order mark, semicolons between cells, decimal commas",
        ),
        ("tab.tsv", PLAIN.replace(",", "\t"), "utf-8", "read as UTF-8, tabs between cells, decimal points"),
        (
            "index.csv",
            lines(",image,a,b,c,d", "{0},s{0}.png,{2}"),
            "utf-8",
            "column 1 has no name and holds row numbers: left out",
        ),
        (
            "r.csv",
            lines('"","image","a","b","c","d"', '"{1}","s{0}.png",{2}'),
            "utf-8",
            "column 1 has no name and holds row numbers: left out",
        ),
        (
            "lost.csv",
            PLAIN + "\ns5.png,,,,",
            "utf-8",
            "1 of 5 rows left out, which lack more than half of their numbers: s5.png",
        ),
        (
            "lost_but_one.csv",
            PLAIN + "\ns5.png,NA,,#N/A,.1",
            "utf-8",
            "1 of 5 rows left out, which lack more than half of their numbers: s5.png",
        ),
    ],
)
def test_tables_as_people_have_them_are_one_table_with_a_note(
    cli: Cli, tmp_path: Path, name: str, text: str, encoding: str, told: str
) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text(PLAIN)
    expected = cli("brain", plain, "--json").object
    (tmp_path / name).write_text(text, encoding=encoding)
    found = cli("brain", tmp_path / name, "--json").object
    assert found["notes"] == [told] and found["left_out"] == (["s5.png"] if "lost" in name else [])
    for key in ("images", "voxels", "identity"):
        assert found[key] == expected[key]
    run = cli("brain", tmp_path / name, "-v")
    assert f"missing or odd:\n  {told}\n" in run.out
    assert ("4 training, 1 left out\n" in run.out) == ("images left out:\n  s5.png\n" in run.out) == ("lost" in name)


@pytest.mark.filterwarnings("error")
def test_ceilings_that_nobody_knows_are_dashes(cli: Cli, subject: Path) -> None:
    (subject / "noise_ceiling/lh_noise_ceiling.npy").unlink()
    lines = cli("brain", subject).out.splitlines()
    assert next(line.split() for line in lines if line.startswith("V4")) == ["V4", "1", "1", "0", "-"]


def test_a_malicious_mapping_is_refused_with_65(cli: Cli, subject: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'canary'}",)

    path = subject / "roi_masks/mapping_floc-faces.npy"
    np.save(path, np.array({0: "Unknown", 1: Evil()}, dtype=object), allow_pickle=True)
    run = cli("brain", subject)
    assert (run.status, run.out) == (65, "")
    assert "system" in run.err and "[pickle-refused, exit 65]" in run.err
    assert not (tmp_path / "canary").exists()
    pickle.loads(path.read_bytes()[128:])
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(("argv", "status", "code"), [(["nowhere"], 66, "brain-missing"), (["."], 66, "no-subject")])
def test_a_wrong_path_is_66(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], status: int, code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = cli("brain", *argv)
    assert (run.status, run.out) == (status, "") and f"[{code}, exit {status}]" in run.err


def test_it_never_imports_torch(brain_folder: Path) -> None:
    script = (
        "import sys; from alignedcut_cli.main import main; "
        f"status = main(['brain', {str(brain_folder)!r}, '-q']); sys.exit(status or 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
