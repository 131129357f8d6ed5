"""A headless Chromium of the system, and a study with a page of everything: made once, read only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alignedcut_cli.datasets.samples import sample_data
from alignedcut_cli.main import main

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FACES = (0, 1, 7, 8, 12, 14, 17, 23)
OTHERS = (2, 3, 5, 10, 13, 16)


def chromium_path() -> str | None:
    named = os.environ.get("ALIGNEDCUT_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser. Skips, with the reason, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not (path := chromium_path()):
        pytest.skip("there is no chromium here: apt-get install chromium, or set ALIGNEDCUT_CHROMIUM")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page that was opened, with what the browser complained of and what it asked for besides the page itself."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def __call__(self, script: str, *given: Any) -> Any:
        return self.page.evaluate(script, *given)


Open = Callable[..., Opened]


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """Open a file: `opened(path, width=360)` gives it once it says that it is ready."""
    made = []

    def open_page(path: Path, width: int = 1300, height: int = 900, *, scripts: bool = True, **more: Any) -> Opened:
        context = chromium.new_context(viewport={"width": width, "height": height}, java_script_enabled=scripts, **more)
        made.append(context)
        found = Opened(context.new_page())
        page = found.page
        page.on("console", lambda told: found.errors.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.on("request", lambda asked: found.requests.append(asked.url))
        page.on("dialog", lambda dialog: (found.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(path.absolute().as_uri())
        if scripts:
            page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=30_000)
        return found

    yield open_page
    for context in made:
        context.close()


@pytest.fixture(scope="session")
def whole_study(tmp_path_factory: pytest.TempPathFactory, brain_folder: Path) -> Path:
    """A project with two joint cuts of scenes (aligned and raw), colours, a trace, concepts, segments, and its page."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "photos").mkdir()
    (folder / "masks").mkdir()
    for number in sorted((*FACES, *OTHERS)):
        name = f"scene-{number:04d}.png"
        shutil.copy(sample_data() / "scenes" / "images" / name, folder / "photos")
        shutil.copy(sample_data() / "scenes" / "category" / name, folder / "masks")
    place = ("-p", str(folder / "study"), "-q")
    model = ("-m", "tiny-clip", "--layers", "3,5", *place)
    masks = ("--masks", str(folder / "masks"))
    for line in (
        ("extract", str(brain_folder), "--name", "seen", "--tokens", "sample:4", *model),
        ("extract", str(folder / "photos"), *model),
        (
            "align",
            "--brain",
            str(brain_folder),
            "--from",
            "features/seen",
            "--epochs",
            "1",
            "--no-pictures",
            "--name",
            "world",
            *place,
        ),
        ("cut", "--from", "features/tiny-clip", "--space", "aligned", "--name", "aligned", *place),
        ("cut", "--from", "features/tiny-clip", "--name", "raw", *place),
        ("color", "--from", "cut/aligned", "--nodes", "150", "--no-pictures", *place),
        ("trace", "--from", "cut/aligned", *masks, "--nodes", "150", "--permutations", "20", "--no-pictures", *place),
        ("segment", "--from", "cut/aligned", *masks, "--bootstrap", "20", "--no-pictures", *place),
        ("concepts", "--from", "color/aligned", *masks, "--no-pictures", *place),
        ("tree", "--from", "cut/aligned", "--clusters", "8", "--bootstrap", "0", "--no-pictures", *place),
        ("compare", "cut/aligned", "cut/raw", "--bootstrap", "0", "--no-pictures", "--name", "both", *place),
        ("report", *place),
    ):
        assert main(list(line)) == 0, line
    return folder
