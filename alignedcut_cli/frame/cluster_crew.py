"""The workers of a Dask cluster: which are connected, their tasks, and whether they match the client's installation."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from alignedcut_cli.errors import UnavailableError, error_from, first_line
from alignedcut_cli.frame.cluster_task import Job, examine, run_task

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["WORKERS_SECONDS", "Crew"]

WORKERS_SECONDS = 60
"""Seconds to wait for a first worker, and for the answers of all once one has answered."""
ANSWER_SECONDS = 600
"""Seconds to wait for the first answer: on busy machines it takes minutes to load torch and to plan."""
STARTS = 4
"""Attempts to find a worker that lives long enough to answer."""
FETCH_SECONDS = 10
"""Limit for fetching a small result: its worker may have died."""
_STEP = 0.02


class Crew:
    """The workers of the cluster at `text` for a command: with `gpu`, those that offer the resource GPU."""

    def __init__(self, client: Client, text: str, *, gpu: bool) -> None:
        self._client, self._text, self._gpu = client, text, gpu
        self._offers: dict[str, bool] = {}
        self._seen = time.monotonic()

    @property
    def local(self) -> bool:
        """Whether the workers were started by this command on this machine."""
        return self._text.startswith("local:")

    def busy(self) -> dict[str, tuple[str, ...]]:
        """The keys of the tasks of each worker. Raises UnavailableError without a worker for WORKERS_SECONDS."""
        with self._answered():
            processing: Any = self._client.processing()
        found = {worker: tuple(keys) for worker, keys in processing.items()}
        serving = {worker: keys for worker, keys in found.items() if self._serves(worker)}
        now = time.monotonic()
        if serving:
            self._seen = now
        elif now - self._seen > WORKERS_SECONDS:
            raise UnavailableError(
                "cluster-no-workers",
                f"--cluster {self._text}: no worker{' that offers a GPU' if self._gpu else ''} for {WORKERS_SECONDS} s",
                "This machine may be too busy"
                if self.local
                else "Start some with `dask worker" + (" --resources GPU=1`" if self._gpu else "`"),
            )
        return serving

    def _serves(self, worker: str) -> bool:
        if self._gpu and worker not in self._offers:
            with self._answered():
                there: Mapping[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
            self._offers |= {one: facts["resources"].get("GPU", 0) >= 1 for one, facts in there.items()}
        return not self._gpu or self._offers.get(worker, False)

    def examine(self, job: Job) -> list[str]:
        """Check that the workers match the client, once there is one; returns those that did not answer in time.

        Raises the AlignedcutError of the first that does not match.
        """
        for _ in range(STARTS):
            asked = self._asked(job)
            began = time.monotonic()
            while waiting := [one for one, future in asked.items() if not future.done()]:
                waiting = [one for one in waiting if one in self.busy()]
                limit = WORKERS_SECONDS if len(waiting) < len(asked) else ANSWER_SECONDS
                if not waiting or time.monotonic() > began + limit or self._client.status != "running":
                    break
                time.sleep(_STEP)
            answers = [self.answer(future, worker) for worker, future in asked.items() if future.done()]
            self.cancel(list(asked.values()))
            if failure := next((one["error"] for one in answers if one and one["error"]), None):
                raise error_from(failure)
            if any(answers):
                return waiting
        raise UnavailableError("cluster-no-answer", f"no worker of {self._text} answers", "See their logs")

    def _asked(self, job: Job) -> dict[str, Future]:
        """A question to each worker, once there is one."""
        while not (workers := self.busy()):
            time.sleep(_STEP)
        return {one: self._submit(examine, job, key=f"{job.token}-{one}", workers=[one]) for one in workers}

    def submit(self, job: Job, sweep: str, number: int, key: str, among: Sequence[str] = ()) -> Future:
        """Submit a task of a sweep, to any worker or to one of `among`."""
        return self._submit(run_task, job, sweep, number, key=key, workers=list(among) or None)

    def _submit(self, function: Any, *given: Any, key: str, workers: list[str] | None) -> Future:
        resources = {"GPU": 1} if self._gpu else None
        with self._answered():
            return self._client.submit(function, *given, key=key, workers=workers, resources=resources, pure=False)

    def answer(self, future: Future, worker: str = "of the cluster") -> dict[str, Any] | None:
        """The result of a task that ended; None if its worker died before it could be fetched.

        Raises the task's exception; UnavailableError if the workers or the scheduler died.
        """
        if future.status in ("lost", "pending"):
            return None
        if future.status == "finished":
            with self._answered(), contextlib.suppress(TimeoutError):
                return future.result(timeout=FETCH_SECONDS)
            return None
        if future.status != "error":
            raise self.gone()
        with self._answered():
            failure: Any = future.exception()
        if type(failure).__name__ == "KilledWorker":
            raise UnavailableError(
                "cluster-workers-lost",
                f"the task {future.key} was on {failure.allowed_failures + 1} workers when they died",
                "They may lack memory (see their logs): give less --memory, then run the same command again",
            )
        if isinstance(failure, ImportError | AttributeError) or "deserializ" in str(failure):
            raise UnavailableError(
                "cluster-other-version",
                f"worker {worker}, or the scheduler, cannot load this alignedcut ({first_line(failure)})",
                "Start scheduler and workers in the same environment as the command",
            )
        raise failure

    def cancel(self, futures: Sequence[Future]) -> None:
        """Cancel tasks: queued ones are dropped, and the results of running ones are ignored."""
        if futures:
            with self._answered():
                self._client.cancel(list(futures))

    def gone(self) -> UnavailableError:
        """The error for a lost scheduler."""
        return UnavailableError(
            "cluster-gone",
            f"--cluster {self._text}: the Dask scheduler went away",
            "What is done is kept: start it again, or leave out --cluster, and run the same command",
        )

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Convert all exceptions of Dask for a lost scheduler into one error."""
        try:
            yield
        except (OSError, TimeoutError, concurrent.futures.CancelledError, asyncio.CancelledError) as error:
            if self._client.status == "running" and isinstance(error, TimeoutError):
                raise
            raise self.gone() from None
