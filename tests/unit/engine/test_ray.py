"""The engine of a cluster, on a cluster of two nodes on this machine."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedding_fakes import Deadly, FakeEncoder, FakeSource
from parted_fakes import FlagEncoder, PartedFake
from placevec.engine.embedding import EmbedWork
from placevec.engine.fragments import Fragments
from placevec.engine.jobs import Job, Shard, job_folder, plan_shards
from placevec.engine.ray import RayEngine, _Tasks
from placevec.engine.work import Spec
from placevec.errors import JobError, MissingExtra, UsageError
from placevec.table import open_table
from placevec.tasks.embed import embed

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
pytest.importorskip("ray")

pytestmark = [
    pytest.mark.slow,
    # Ray leaves files and processes open that it closes when the cluster goes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
ROWS = {"batch": 32, "shard_rows": 64}
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes, and this process connected to it."""
    import ray
    from ray.cluster_utils import Cluster

    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        found = Cluster(initialize_head=True, head_node_args=NODE)
        found.add_node(**NODE)
        ray.init(address=found.address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        yield found
        ray.shutdown()
        found.shutdown()


def engine() -> RayEngine:
    return RayEngine(workers=2)


@pytest.mark.parametrize("name", ["t.parquet", "t.lance"])
def test_ray_and_local_give_one_fingerprint(cluster: Any, tmp_path: Path, name: str) -> None:
    here = embed(FakeSource(400), FakeEncoder(), tmp_path / f"here-{name}", **ROWS)
    there = embed(FakeSource(400), FakeEncoder(), tmp_path / name, engine="ray", workers=2, **ROWS)
    assert there.fingerprint == here.fingerprint == open_table(tmp_path / name).fingerprint()
    assert (there.rows, there.skipped, there.skipped_because) == (here.rows, here.skipped, here.skipped_because)
    assert not job_folder(tmp_path / name).exists()


def test_places_that_are_read_by_parts(cluster: Any, tmp_path: Path) -> None:
    here = embed(PartedFake(500), FlagEncoder(), tmp_path / "a.lance", **ROWS)
    there = embed(PartedFake(500), FlagEncoder(), tmp_path / "b.lance", engine=engine(), **ROWS)
    assert (there.fingerprint, there.flagged) == (here.fingerprint, here.flagged)


def test_errors_of_ours_keep_their_class(cluster: Any, tmp_path: Path) -> None:
    job = Job(job_folder(tmp_path / "t.parquet"), {}, plan_shards(200, 50))
    with job.open(), pytest.raises(UsageError, match="module:function"):
        engine().run(job, Spec("no.such:thing"))
    absent = Spec("placevec.registry:need", {"package": "no_such_package", "extra": "none", "purpose": "a test"})
    with job.open(), pytest.raises(MissingExtra, match=r"placevec\[none\]"):
        engine().run(job, absent)


def test_a_node_that_does_not_see_the_folder_says_so(cluster: Any, tmp_path: Path) -> None:
    class Elsewhere(Job):
        @property
        def fragments(self) -> Fragments:
            return Fragments(tmp_path / "other" / "disk", self.key)

    job = Elsewhere(job_folder(tmp_path / "t.parquet"), {}, plan_shards(200, 50))
    work = Spec(
        "placevec.engine.embedding:EmbedWork", {"source": FakeSource(200).spec(), "encoder": FakeEncoder().spec()}
    )
    with job.open(), pytest.raises(JobError, match=r"does not see the job in .*disk: .*s3://BUCKET"):
        engine().run(job, work)
    assert not (tmp_path / "other").exists()


def test_a_worker_that_dies_once_is_replaced_and_thrice_ends_the_job(cluster: Any, tmp_path: Path) -> None:
    once = embed(Deadly(str(tmp_path / "a"), n=300), FakeEncoder(), tmp_path / "t.parquet", engine=engine(), **ROWS)
    whole = embed(FakeSource(300), FakeEncoder(), tmp_path / "u.parquet", **ROWS)
    assert once.fingerprint == whole.fingerprint
    assert (tmp_path / "a").read_text() == "x"
    often = Deadly(str(tmp_path / "b"), times=3, n=300)
    with pytest.raises(JobError, match=r"worker of shard-0000\d died 3 times"):
        embed(often, FakeEncoder(), tmp_path / "v.parquet", engine=engine(), **ROWS)
    assert embed(often, FakeEncoder(), tmp_path / "v.parquet", **ROWS).fingerprint == whole.fingerprint


def test_ctrl_c_keeps_what_is_done(cluster: Any, tmp_path: Path) -> None:
    def stop(done: int, total: int, counts: object) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    out = tmp_path / "t.parquet"
    with pytest.raises(KeyboardInterrupt, match=r"\d of 7 shards; the same command goes on"):
        embed(FakeSource(400), FakeEncoder(), out, engine=engine(), progress=stop, **ROWS)
    again = embed(FakeSource(400), FakeEncoder(), out, engine=engine(), **ROWS)
    assert again.resumed >= 2


def test_a_node_is_killed_half_way(cluster: Any, tmp_path: Path) -> None:
    n = 1600
    whole = embed(PartedFake(n), FlagEncoder(), tmp_path / "whole.parquet", **ROWS)
    (node,) = cluster.worker_nodes
    killer = threading.Timer(0.2, cluster.remove_node, (node, False))
    after: list[int] = []

    def kill(done: int, total: int, counts: object) -> None:
        if done >= 256 and not killer.is_alive() and not killer.finished.is_set():
            killer.start()  # amid two shards of more than half a second each
        elif killer.finished.is_set() and not killer.is_alive():
            after.append(done)

    out = tmp_path / "t.lance"
    summary = embed(PartedFake(n, pause=0.3), FlagEncoder(), out, engine=engine(), progress=kill, **ROWS)
    killer.join()
    assert after[0] < after[-1] == n  # shards were done when the node was gone
    assert not node.live_processes()
    assert (summary.fingerprint, summary.flagged) == (whole.fingerprint, whole.flagged)
    assert summary.rows + summary.skipped == summary.places == n


def test_a_shard_whose_node_dies_is_given_to_another_five_times(tmp_path: Path) -> None:
    import ray.exceptions

    job = Job(job_folder(tmp_path / "t.parquet"), {}, plan_shards(100, 50))
    tasks = _Tasks.__new__(_Tasks)
    tasks.ray, tasks.job, tasks.deaths = ray, job, Counter()
    queue: deque[Shard] = deque()
    error = ray.exceptions.NodeDiedError("the node is gone")
    with job.open():
        for _ in range(4):
            assert tasks._died(error, job.shards[0], queue) is None
            assert queue.popleft() is job.shards[0]
        with pytest.raises(JobError, match="the node of shard-00000 died 5 times"):
            tasks._died(error, job.shards[0], queue)
        work = EmbedWork(FakeSource(100), FakeEncoder())
        record = job.fragments.write("shard-00001", work(job.shards[1].positions))
        assert tasks._died(error, job.shards[1], queue) == record  # it was done before the node died
    assert not queue


def test_no_cluster_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(JobError, match=r"no Ray cluster at .*127.0.0.1:1 .*`ray start --head`"):
            embed(FakeSource(50), FakeEncoder(), tmp_path / "t.parquet", engine=RayEngine(address=address))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(JobError, match="no Ray cluster at 127.0.0.1:1"):
        embed(FakeSource(50), FakeEncoder(), tmp_path / "t.parquet", engine="ray")


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"threads": 0}])
def test_numbers_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        RayEngine(**wrong)
