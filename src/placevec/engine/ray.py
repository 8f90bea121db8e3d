"""The engine of a cluster: shards as Ray tasks, on this machine or on as many as there are.

Workers read places, encode them and write fragments where all can see them; the driver collects small records and
commits once, as with the local engine. A shard whose worker or node dies is given to another.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from placevec import __version__
from placevec.engine.fragments import Fragments, Record
from placevec.engine.jobs import Job, Shard
from placevec.engine.progress import reporter, stopped
from placevec.engine.work import Progress, Spec, Work, build
from placevec.engine.worker import THREADS, described, rebuilt, threads_here
from placevec.errors import JobError, UsageError
from placevec.registry import need

# A worker dies with its node before the node is known to be dead: one death more than on a machine of one's own.
WORKER_DEATHS = 3
NODE_DEATHS = 5  # known ones under one shard: that is hardly the fault of the shard
NO_CPUS_S = 60.0  # how long a cluster may be without a processor, as while a node is replaced
CONNECT_S = 10.0
STORE_BYTES = 100 << 20  # of Ray's object store on this machine: only records and settings pass through it


@dataclass(frozen=True)
class RayEngine:
    """Does the shards of a job as Ray tasks.

    The table is that of `LocalEngine`: the same shards, each done with the same number of threads.

    Args:
        workers: shards done at once, each by a process with one processor.
        threads: threads of a worker for linear algebra.
        address: of a running cluster; by default what RAY_ADDRESS says, else a cluster of this machine is started
            and ended with the job. A connection that the program has made already (`ray.init`) is used as it is.

    Raises:
        UsageError: a number below 1.
    """

    workers: int = 1
    threads: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value < 1:
                raise UsageError(f"{name} is {value}: give at least 1")

    def run(self, job: Job, work: Work | Spec, progress: Progress | None = None) -> None:
        """Do all shards of an open `job` that are not done.

        Args:
            job: an open job, see `Job.open`; its folder is one that all nodes see.
            work: does a shard; a Spec of it, or what pickles.
            progress: called at the start and after each shard.

        Raises:
            JobError: no cluster answers, a node does not see the job's folder or has another placevec, a worker died
                three times at one shard, or the disk is full. What is done stays.
            KeyboardInterrupt: after Ctrl-C, when the tasks are cancelled; its text says how much is done.
        """
        report = reporter(job, progress)
        report()
        shards = job.todo()
        if not shards:
            return
        try:
            # Ray prints what befalls nodes and workers; standard output belongs to the answer of a command.
            with redirect_stdout(sys.stderr), _cluster(self, min(self.workers, len(shards))) as ray:
                for record in _Tasks(ray, self, job, work).results(shards):
                    report(record)
        except KeyboardInterrupt:
            raise stopped(job) from None


class _Tasks:
    """The tasks of one run: at most `workers` of them at a time."""

    def __init__(self, ray: Any, engine: RayEngine, job: Job, work: Work | Spec) -> None:
        self.ray = ray
        self.engine = engine
        self.job = job
        self.running: dict[Any, Shard] = {}
        self.deaths: Counter[tuple[str, str]] = Counter()
        # Deaths are counted here, so that the message names the shard; Ray's own retries would not.
        self.task = ray.remote(num_cpus=1, max_retries=0, max_calls=0)(_do)
        try:
            payload = ray.put((job.fragments, work))
        except (TypeError, AttributeError) as error:
            raise UsageError(
                f"workers cannot be given this source or encoder ({str(error).splitlines()[0]}): describe it by a Spec"
            ) from error
        # In a list, so that a worker asks for it once, not with every task.
        self.common = (uuid.uuid4().hex, __version__, [payload], engine.threads)

    def results(self, shards: list[Shard]) -> Iterator[Record]:
        """The records of all shards as they are done."""
        queue = deque(shards)
        idle_since = time.monotonic()
        try:
            while queue or self.running:
                while queue and len(self.running) < self.engine.workers:
                    shard = queue.popleft()
                    self.running[self.task.remote(*self.common, shard.name, shard.rows)] = shard
                ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=1.0)
                if ready or self.ray.cluster_resources().get("CPU", 0) >= 1:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > NO_CPUS_S:
                    raise JobError("the Ray cluster has no processor left: start nodes, then run the same again")
                for task in ready:
                    record = self._receive(task, self.running.pop(task), queue)
                    if record is not None:
                        yield record
        finally:
            for task in self.running:
                self.ray.cancel(task, force=True)

    def _receive(self, task: Any, shard: Shard, queue: deque[Shard]) -> Record | None:
        exceptions = self.ray.exceptions
        try:
            kind, value = self.ray.get(task)
        except exceptions.RayTaskError as error:  # what `_do` did not answer for: it was not reached
            line = str(error.cause or error).strip().splitlines()[-1]
            raise JobError(
                f"a Ray worker could not begin ({line}): install placevec {__version__} and what the source needs on "
                "every node"
            ) from error
        except exceptions.RayError as error:
            return self._died(error, shard, queue)
        if kind == "failed":
            raise rebuilt(**value)
        record: Record = value
        return record

    def _died(self, error: Exception, shard: Shard, queue: deque[Shard]) -> Record | None:
        record = self.job.fragments.done(shard.name)
        if record is not None:
            return record
        exceptions = self.ray.exceptions
        node = isinstance(error, exceptions.NodeDiedError | exceptions.ObjectLostError)
        what, most = ("node", NODE_DEATHS) if node else ("worker", WORKER_DEATHS)
        self.deaths[shard.name, what] += 1
        if self.deaths[shard.name, what] >= most:
            reason = str(error).strip().splitlines()[0]
            raise JobError(
                f"the {what} of {shard.name} died {most} times ({reason}): run the same again with fewer workers or a "
                "smaller batch, what is done stays"
            ) from error
        queue.appendleft(shard)
        return None


# What this process has built for the run it works for: source and encoder are built once.
_BUILT: dict[str, tuple[Fragments, Work]] = {}


def _do(
    run: str, version: str, payload: list[Any], threads: int, name: str, rows: Any
) -> tuple[str, Record | dict[str, Any]]:
    """Do one shard in a worker process; errors are described, since Ray would wrap them in its own."""
    try:
        if version != __version__:
            raise JobError(f"a node has placevec {__version__}, the driver has {version}: install the same everywhere")
        if run not in _BUILT:
            _BUILT.clear()
            # For libraries that are not loaded yet; `threads_here` sees to the others.
            os.environ.update(dict.fromkeys(THREADS, str(threads)))
            fragments, work = need("ray", extra="ray", purpose="the engine ray").get(payload[0])
            fragments.check()
            with threads_here(threads):
                _BUILT[run] = fragments, build(work)
        fragments, function = _BUILT[run]
        fragments.check()  # a driver that died leaves its folder to the next one, which may remove it
        with threads_here(threads):
            return "done", fragments.write(name, function(Shard(name, rows).positions))
    except Exception as error:
        return "failed", described(error)


@contextmanager
def _cluster(engine: RayEngine, workers: int) -> Iterator[Any]:
    """Ray with a connection; a cluster that was started here ends here."""
    # Read when Ray is imported. It reports on its use to its makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray: Any = need("ray", extra="ray", purpose="the engine ray")
    if ray.is_initialized():
        yield ray
        return
    address = engine.address or os.environ.get("RAY_ADDRESS") or "local"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    own = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        _knock(address)
        ray.init(address=address, **quiet, **(own if address == "local" else {}))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise JobError(
            f"no Ray cluster at {address} ({reason}): start one with `ray start --head` and set RAY_ADDRESS, or leave "
            "that out to work on this machine"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """OSError at once where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.rsplit("/", 1)[-1].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
