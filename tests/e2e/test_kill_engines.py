"""The same job by each engine, killed five times at random moments and run again: one fingerprint, nothing lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_fakes import FakeEncoder, FakeSource
from placevec.engine.jobs import job_folder
from placevec.objects import located
from placevec.table import read_skipped, read_table
from placevec.tasks.embed import embed
from s3_server import BUCKET, Server, keys, running

TESTS = Path(__file__).parents[1]
N = 1536  # 24 shards

pytestmark = pytest.mark.slow


def start(out: str | Path, engine: str, pause: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, TESTS / "embed_driver.py", str(out), str(N), "2", engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "FAKE_PAUSE": str(pause), "RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
    return process


def records(out: str | Path) -> int:
    folder = job_folder(out)
    if isinstance(folder, Path):
        return len(list(folder.glob("shard-*.json")))
    return sum(place.suffix == ".json" and place.name.startswith("shard-") for place in folder.iterdir())


def killed_five_times(out: str | Path, engine: str) -> subprocess.Popen[str]:
    """The process that goes on after five others were killed at random moments."""
    rng = random.Random(f"{engine} 5")
    before = 0
    for _ in range(5):
        process = start(out, engine, pause=0.1)
        aim, until = before + rng.randint(0, 2), time.monotonic() + 60
        while records(out) < aim or not job_folder(out).exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.3))
        process.kill()  # the driver alone; what it started ends with it
        process.communicate()
        assert not located(out).exists()
        before = records(out)
    assert 0 < before < 24
    return start(out, engine, pause=0.0)


def check(out: str | Path, fingerprint: str) -> None:
    table, skipped = read_table(out).validate(), read_skipped(out)
    assert table.fingerprint() == fingerprint
    assert {*table.ids, *(row.id for row in skipped)} == set(FakeSource(N).places().ids)
    assert len(table) + len(skipped) == N


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("undisturbed") / "t.parquet"
    return embed(FakeSource(N), FakeEncoder(), out, batch=32, shard_rows=64).fingerprint


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_killed_five_times_and_resumed(tmp_path: Path, undisturbed: str, engine: str) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    out = tmp_path / ("t.lance" if engine == "ray" else "t.parquet")
    text, trouble = killed_five_times(out, engine).communicate(timeout=120)
    assert text.strip() == undisturbed, trouble
    check(out, undisturbed)
    assert sorted(path.name for path in out.parent.iterdir()) == sorted([out.name, "t.skipped.parquet"])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with running(monkeypatch) as found:
        yield found


@pytest.mark.parametrize("name", ["t.lance", "t.parquet"])
def test_killed_five_times_and_resumed_in_a_bucket(server: Server, undisturbed: str, name: str) -> None:
    out = f"s3://{BUCKET}/job/{name}"
    text, trouble = killed_five_times(out, "local").communicate(timeout=120)
    assert text.strip() == undisturbed, trouble
    check(out, undisturbed)
    assert not [key for key in keys() if ".job" in key]


def test_ray_writes_to_a_bucket_and_two_drivers_exclude_each_other(server: Server, undisturbed: str) -> None:
    pytest.importorskip("ray")
    out = f"s3://{BUCKET}/t.lance"
    first = start(out, "ray", pause=0.1)
    while not records(out):
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = start(out, "local", pause=0.0)
    _, trouble = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"is being worked on by process {first.pid} on" in trouble
    text, trouble = first.communicate(timeout=120)
    assert text.strip() == undisturbed, trouble
    check(out, undisturbed)


def test_ctrl_c_in_a_terminal_ends_a_cluster_of_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "t.parquet"
    process = start(out, "ray", pause=0.5)
    while not records(out):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the driver and what it has started
    _, trouble = process.communicate(timeout=60)
    assert "of 24 shards; the same command goes on from there" in trouble
    again = embed(FakeSource(N), FakeEncoder(), out, batch=32, shard_rows=64)
    assert again.resumed >= 1
