"""Sweeps on a Dask cluster: the same bytes as here, whatever happens to workers, scheduler and client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")
import psutil

from alignedcut_cli.core.numerics import cores
from alignedcut_cli.errors import (
    AlignedcutError,
    DataError,
    DiskError,
    InputMissingError,
    UnavailableError,
    UsageError,
)
from alignedcut_cli.frame import cluster_course, cluster_crew, cluster_open, cluster_run
from alignedcut_cli.frame.cluster_costs import shared_counts
from alignedcut_cli.frame.cluster_open import connect, require_cluster
from alignedcut_cli.frame.options import ConfiguredCommand
from alignedcut_cli.frame.output import Output
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.frame.sweeps import run_sweeps
from alignedcut_cli.main import app
from alignedcut_cli.store.project import Project
from tests.conftest import Cli
from tests.helpers.forks import ROOT
from tests.helpers.toy.asked import Asked
from tests.helpers.toy.command import NAME, command, make
from tests.helpers.toy.sweeps import open_sweeps, parts_of, recipe_of

Make = Callable[..., bytes]
NUMBERS = 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """The client of two worker processes that all tests here share."""
    with connect("local:2", gpu=False) as client:
        client.wait_for_workers(2, 120)
        yield client


@pytest.fixture
def where(cluster: Any) -> str:
    return cluster.scheduler.address


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Frame:
    """A new project, from its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster_course, "TICK", 0.2)
    return Frame(Project(Path("study")), Output("toy", quiet=True), ("toy", "-p", "study"))


def made(frame: Frame, **given: Any) -> bytes:
    """The bytes of the toy's artifact."""
    make(frame, Asked(project=frame.project.root, **given))
    return frame.project.path("cut", "toy").read_bytes()


def alone(frame: Frame, **given: Any) -> bytes:
    """The bytes that a run without a cluster gives."""
    return made(replace(frame, project=Project(Path("alone"))), **given)


def test_the_workers_write_the_bytes_of_a_run_without_them(study: Frame, where: str) -> None:
    assert made(study, cluster=where) == alone(study)
    assert [path.name for path in (study.project.root / "cut").iterdir()] == ["toy.safetensors"]
    assert not list((study.project.root / ".alignedcut").glob(".*"))


def test_local_workers_leave_a_sweep_of_one_task_to_the_command_with_the_threads_of_all(
    study: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert made(study, cluster="local:2", trouble="who") == alone(study)
    both = min(2, cores())
    assert (study.project.root / "who").read_text() == f"{os.getpid()} {both}"
    assert cluster_open.local_threads("local:2") == (1, both)
    assert cluster_open.local_threads("local:1") == (1, 1)
    assert cluster_open.local_threads("tcp://127.0.0.1:1") == (0, 0)


def test_where_digits_depend_on_threads_it_has_those_of_one(study: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made(study, cluster="local:2", trouble="who", by_threads=True)
    assert (study.project.root / "who").read_text() == f"{os.getpid()} 1"


def test_workers_of_a_cluster_leave_no_sweep_to_the_command(study: Frame, where: str) -> None:
    made(study, cluster=where, trouble="who")
    assert int((study.project.root / "who").read_text().split()[0]) != os.getpid()


def test_workers_that_were_starting_end_with_a_failure_beside_them(cluster: Any) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(DataError), cluster_open.connecting("local:1", gpu=False):
        raise DataError("bad-toy", "the first sweep failed", "Give another")
    left = set(psutil.Process().children(recursive=True)) - before
    assert not psutil.wait_procs(list(left), timeout=10)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each worker loads torch itself")
def test_local_workers_are_forked_from_one_process_that_has_loaded_torch(cluster: Any) -> None:
    found = cluster.run(lambda: (os.getpid(), os.getppid(), os.environ["OMP_NUM_THREADS"], "torch" in sys.modules))
    workers, parents, threads, loaded = zip(*found.values(), strict=True)
    assert len(set(workers)) == 2 and len(set(parents)) == 1 and os.getpid() not in parents
    assert threads[0] == threads[1] == cluster_open._variables(2)["OMP_NUM_THREADS"] and all(loaded)


def test_where_that_process_cannot_start_workers_are_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError("AF_UNIX path too long")

    before = dict(os.environ)
    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", refused)
    assert cluster_open.begin_loading_workers("local:2") == "spawn" and dict(os.environ) == before
    with connect("local:1", gpu=False) as client:
        client.wait_for_workers(1, 120)
        assert list(client.run(os.getppid).values()) == [os.getpid()]
    monkeypatch.undo()
    assert cluster_open.begin_loading_workers("tcp://127.0.0.1:1") == "spawn"


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize("trim", ["65536", None])  # as `dask worker` sets it, and as it is
def test_freed_tiles_stay_with_the_process_and_its_threads(trim: str | None) -> None:
    code = """if True:
        import resource
        from concurrent.futures import ThreadPoolExecutor
        from alignedcut_cli.frame.freed_memory import keep_freed_memory

        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(10):
                [bytearray(4 << 20) for _ in range(20)]
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(faults).result()
            keep_freed_memory()
            pool.submit(faults).result()
            print(first, pool.submit(faults).result())
    """
    environment = {**os.environ, **({"MALLOC_TRIM_THRESHOLD_": trim} if trim else {})}
    argv = [sys.executable, "-c", code]
    ended = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    returned, kept = map(int, ended.stdout.split())
    assert returned > 20 * 1024 and kept < 1024  # 200 times 4 MiB are 204,800 pages of 4 KiB


def test_a_scheduler_file_names_the_cluster_as_well(study: Frame, where: str) -> None:
    Path("scheduler.json").write_text(json.dumps({"type": "Scheduler", "address": where}))
    assert made(study, cluster="scheduler.json") == alone(study)


def test_what_is_there_is_not_done_again_and_with_everything_there_nobody_is_asked(study: Frame, where: str) -> None:
    asked = Asked(project=study.project.root, cluster=where)
    parts_of(study, asked).open()
    (_, sweeps), *_ = open_sweeps(study, asked)
    sweeps[0].run([0], lambda _: None)
    sweeps[1].run([0, 2], lambda _: None)
    paths = sorted(parts_of(study, asked).folder.glob("rows-*"))
    before = [path.stat().st_mtime_ns for path in paths]
    run_sweeps(study, asked, sweeps)
    assert [path.stat().st_mtime_ns for path in paths] == before and not sweeps[1].missing()
    run_sweeps(study, replace(asked, cluster="tcp://127.0.0.1:1"), sweeps)


def test_workers_notes_are_told_once_and_the_progress_counts_units(
    study: Frame, where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    @contextlib.contextmanager
    def progress(_: Output, what: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int], None]]:
        counts.append(total - done)
        yield lambda count: counts.append(-count)

    monkeypatch.setattr(Output, "progress", progress)
    made(replace(study, output=Output("toy")), cluster=where, trouble="note:2")
    made(replace(study, project=Project(Path("more")), output=Output("toy")), cluster=where, trouble="note:3")
    assert capsys.readouterr().err.splitlines() == ["alignedcut toy: out of memory: going on with tiles of 7"] * 2
    assert counts == [1, -1, 10 * NUMBERS, *[-10] * NUMBERS] * 2


def test_a_failure_is_raised_as_it_was(study: Frame, where: str) -> None:
    with pytest.raises(DataError, match="task 3 is bad") as failure:
        made(study, cluster=where, trouble="data:3")
    assert (failure.value.code, failure.value.remedy) == ("bad-toy", "Give another")
    assert failure.value.details == {"number": 3}
    with pytest.raises(ValueError, match="task 2 is no number"):
        made(replace(study, project=Project(Path("more"))), cluster=where, trouble="value:2")


def test_a_worker_that_loses_the_disk_has_its_task_done_elsewhere(study: Frame, where: str) -> None:
    assert made(study, cluster=where, trouble="disk:2") == alone(study)


def test_a_full_disk_ends_the_run_after_the_retries(study: Frame, where: str) -> None:
    with pytest.raises(DiskError, match="no space is left"):
        made(study, cluster=where, trouble="full:1")


def test_a_killed_worker_changes_no_byte(study: Frame, where: str) -> None:
    assert made(study, cluster=where, trouble="kill:4") == alone(study)
    assert (study.project.root / "kill-happened").exists()


def test_a_worker_killed_while_it_is_examined_changes_no_byte(study: Frame, cluster: Any, where: str) -> None:
    cluster.wait_for_workers(2, 120)
    pid, *_ = cluster.run(os.getpid).values()

    def kill() -> None:
        while not list((study.project.root / ".alignedcut").glob(".cluster-*")):
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    assert made(study, cluster=where) == alone(study)
    thread.join()


def test_a_task_that_kills_its_workers_ends_the_run(study: Frame, cluster: Any, where: str) -> None:
    cluster.cluster.scheduler.allowed_failures = 0
    try:
        with pytest.raises(UnavailableError, match="on 1 workers when they died") as failure:
            made(study, cluster=where, trouble="always-kill:0")
    finally:
        cluster.cluster.scheduler.allowed_failures = cluster_open.ALLOWED_FAILURES
    assert failure.value.code == "cluster-workers-lost"


def test_work_moves_on_from_a_slow_worker(study: Frame, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_course, "SLOW_SECONDS", 0.3)
    try:
        assert made(study, cluster=where, trouble="slow:3") == alone(study)
    finally:
        (study.project.root / "over").touch()
    assert (study.project.root / "slow-happened").exists()


def test_a_worker_of_another_version_is_refused(study: Frame, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, _), torch = cluster_run.versions()
    monkeypatch.setattr(cluster_run, "versions", lambda: ((first, "0.0.9"), torch))
    with pytest.raises(
        UnavailableError, match=r"worker tcp://\S+ on \S+ has alignedcut .*, this command 0\.0\.9"
    ) as fault:
        made(study, cluster=where)
    assert fault.value.code == "cluster-other-version"
    assert parts_of(study, Asked(project=study.project.root)).missing("pilot", 1) == [0]


def test_a_worker_that_does_not_see_the_project_is_refused(
    study: Frame, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_run, "_token", lambda _: contextlib.nullcontext(".cluster-gone"))
    with pytest.raises(UnavailableError, match=r"worker tcp://\S+ on \S+ does not see the project study of /") as fault:
        made(study, cluster=where)
    assert fault.value.code == "cluster-no-project"


def test_a_worker_that_sees_other_weights_is_refused(study: Frame, where: str) -> None:
    asked = Asked(project=study.project.root, cluster=where)
    Path("weights").write_text("these")
    parts_of(study, asked).open()
    (recipe, sweeps), *_ = open_sweeps(study, asked)
    Path("weights").write_text("others")
    with pytest.raises(DataError, match=r"worker tcp://\S+ on \S+ plans another artifact") as fault:
        run_sweeps(study, asked, sweeps, recipe)
    assert fault.value.code == "cluster-other-recipe"
    assert recipe.identity != recipe_of(study, asked).identity


def test_parts_that_do_not_count_here_end_the_run(study: Frame, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_run, "SETTLE_SECONDS", 0.3)
    with pytest.raises(DataError, match="all of 'pilot', but 1 of 1 files do not count here") as fault:
        made(study, cluster=where, trouble="numerics")
    assert fault.value.code == "cluster-parts-missing"


def test_without_a_worker_that_offers_a_gpu_none_is_used(
    study: Frame, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_crew, "WORKERS_SECONDS", 0.3)
    with pytest.raises(UnavailableError, match=r"no worker that offers a GPU for 0\.3 s") as fault:
        made(study, cluster=where, device="cuda")
    assert fault.value.code == "cluster-no-workers"


def test_the_workers_of_this_machine_share_its_cores(cluster: Any) -> None:
    wanted = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert set(cluster.run(os.environ.get, "OMP_NUM_THREADS").values()) == {wanted}
    assert all(address.startswith("tcp://127.0.0.1:") for address in cluster.nthreads())


def test_a_scheduler_that_dies_ends_the_run_and_breaks_nothing(study: Frame) -> None:
    import dask.config
    from distributed import Scheduler, SpecCluster, Worker

    here: dict[str, Any] = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    workers = {0: {"cls": Worker, "options": {**here, "nthreads": 1}}}
    soon = dask.config.set({"distributed.comm.timeouts.connect": "1s"})  # its worker looks for it at the end
    with soon, SpecCluster(workers, {"cls": Scheduler, "options": {**here, "port": 0}}) as doomed:
        killer = threading.Timer(1.5, lambda: doomed.sync(doomed.scheduler.close))
        killer.start()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="the Dask scheduler went away") as fault:
            made(study, cluster=doomed.scheduler_address, seconds=0.6)
        assert time.monotonic() - began < 10
        killer.join()
    assert fault.value.code == "cluster-gone"
    asked = Asked(project=study.project.root)
    kept = NUMBERS - len(parts_of(study, asked).missing("rows", NUMBERS))
    assert kept > 0
    assert made(study) == alone(study)


@pytest.fixture
def toy_command() -> Iterator[None]:
    """The toy command in the command line of this process, for one test."""
    app.command(name=NAME, cls=ConfiguredCommand)(command)
    yield
    app.registered_commands.pop()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(study: Frame, where: str, cli: Cli, toy_command: None) -> None:
    words = (NAME, "-p", "study", "--cluster", where)
    rows = study.project.parts_folder("cut", "toy")

    def interrupt() -> None:
        while not list(rows.glob("rows-*")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ended = cli(*words, "--seconds", "0.5")
    thread.join()
    assert ended.status == 130 and ended.out == ""
    assert "of 7 tasks are kept; go on with: alignedcut toy -p study --cluster tcp://" in ended.err
    assert list(rows.glob("rows-*"))
    assert cli(*words, "--seconds", "0.5").status == 0
    assert study.project.path("cut", "toy").read_bytes() == alone(study)


def _started(study: Frame) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A command in a process of its own, of which a task is done, and all processes that it has started."""
    words = [sys.executable, "-m", "tests.helpers.toy", NAME, "-p", "study", "--cluster", "local:1", "--seconds", "0.4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    client = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    folder = parts_of(study, Asked()).folder
    while client.poll() is None and not list(folder.glob("rows-*")):
        time.sleep(0.05)
    return client, psutil.Process(client.pid).children(recursive=True)


def _wait_for_the_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def test_a_killed_client_takes_its_workers_along_and_the_next_run_goes_on(study: Frame, where: str) -> None:
    client, others = _started(study)
    client.kill()
    assert client.communicate() == (b"", b"")
    assert len(parts_of(study, Asked()).missing("rows", NUMBERS)) < NUMBERS
    assert len(others) >= 2
    _wait_for_the_end(others)
    assert made(study, cluster=where) == alone(study)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
def test_the_death_of_the_process_that_workers_are_forked_from_changes_nothing(study: Frame) -> None:
    client, others = _started(study)
    server = next(one for one in others if "multiprocessing.forkserver" in " ".join(one.cmdline()))
    server.kill()
    assert client.communicate(timeout=120)[1] == b"" and client.returncode == 0
    _wait_for_the_end(others)
    assert study.project.path("cut", "toy").read_bytes() == alone(study)


def test_the_cluster_carries_under_two_percent_of_the_bytes_on_disk(study: Frame, where: str) -> None:
    if not Path("/proc/net/dev").is_file():
        pytest.skip("no counters of this machine's interfaces")
    moved = []
    for attempt in range(3):  # others may use the interface too
        frame = replace(study, project=Project(Path(f"study-{attempt}")))
        before = _loopback_bytes()
        written = len(made(frame, cluster=where, width=100_000_000 // 4 // NUMBERS))
        moved.append((_loopback_bytes() - before) / written)
        if moved[-1] < 0.02:
            break
    assert written > 99_000_000
    assert min(moved) < 0.02


def _loopback_bytes() -> int:
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


@pytest.mark.parametrize(
    "text", ["", "local", "local:0", "local:-1", "local:2x", "tcp://host", "host:8786", "http://host:1", "tcp:8786"]
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no place of workers"):
        require_cluster(text)


def test_a_cluster_and_a_share_exclude_each_other(study: Frame, cli: Cli, toy_command: None) -> None:
    ended = cli(NAME, "-p", "study", "--cluster", "local:2", "--shard", "1/2")
    assert ended.status == 2 and "option-contradicts" in ended.err


def test_places() -> None:
    for text in ("local:1", "local:64", "tcp://10.0.0.1:8786", "tls://host:8786", "dir/scheduler.json"):
        require_cluster(text)


def test_without_dask_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UnavailableError, match="need the package distributed") as fault:
        require_cluster("local:2")
    assert (fault.value.code, fault.value.remedy) == (
        "package-missing",
        "Install it: pip install 'alignedcut[cluster]'",
    )


def test_a_scheduler_that_does_not_answer_is_told_in_time(study: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_open, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UnavailableError, match=r"no Dask scheduler answers there within 0\.5 s") as fault:
        made(study, cluster="tcp://127.0.0.1:1")
    assert fault.value.code == "cluster-unreachable"


def test_scheduler_files_that_are_none(study: Frame) -> None:
    with pytest.raises(InputMissingError, match="there is no such file"):
        made(study, cluster="none.json")
    for content in ("", "[]", "{}", json.dumps({"address": None})[:-3]):
        Path("bad.json").write_text(content)
        with pytest.raises(DataError, match="is no scheduler file"):
            made(study, cluster="bad.json")


@pytest.mark.parametrize("way", ["cluster", "shard", ""])
def test_a_dry_run_counts_the_tasks_that_are_left_and_what_they_cost(study: Frame, way: str) -> None:
    given = {"cluster": {"cluster": "local:2"}, "shard": {"shard": "1/4"}, "": {}}[way]
    asked = Asked(project=study.project.root, count=8, **given)
    parts_of(study, asked).open()
    (_, sweeps), *_ = open_sweeps(study, asked)
    sweeps[0].run([0], lambda _: None)
    sweeps[1].run([0, 1], lambda _: None)
    rows = shared_counts(asked, "toy", sweeps, read=900, memory=50)
    told = {f"{of}: {what}": count for of, what, count in rows}
    messages = told.pop("network: bytes of messages, without signs of life", None)
    if way == "cluster":
        assert messages is not None and 6 * 5000 + 80_000 < messages < 6 * 10_000 + 80_000
        one = {"disk: bytes read": 600, "each worker: bytes of main memory": 50}
        assert told == {"looking: tasks of pilot": 0, "cutting: tasks of rows": 6, **one}
    elif way == "shard":
        one = {"disk: bytes read": 100, "this job: bytes of main memory": 50}
        assert told == {"looking: tasks of pilot": 0, "cutting: tasks of rows": 1, **one}
    else:
        assert rows == ()


def test_failures_survive_the_way_from_a_worker() -> None:
    from alignedcut_cli.errors import error_from

    for kind in AlignedcutError.__subclasses__():
        before = kind("a-code", "what", "do", number=3)
        after = error_from(json.loads(json.dumps(before.as_object())))
        assert type(after) is kind and after.as_object() == before.as_object()
