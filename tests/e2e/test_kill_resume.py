"""Killed at any moment and run again, `embed` makes the table of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedding_fakes import FakeEncoder, FakeSource
from placevec.engine.jobs import job_folder
from placevec.errors import FormatError
from placevec.table import open_table, read_skipped, read_table
from placevec.tasks.embed import embed

TESTS = Path(__file__).parents[1]
N = 640
PAUSE = 0.01  # seconds a batch: 10 shards take about a third of a second


def start(out: Path, workers: int = 1, pause: float = PAUSE, n: int = N) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, TESTS / "embed_driver.py", str(out), str(n), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAKE_PAUSE": str(pause)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
    return process


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def all_end(processes: list[int]) -> None:
    for _ in range(200):
        left = [process for process in processes if alive(process)]
        if not left:
            return
        time.sleep(0.05)
    pytest.fail(f"outlived their driver: {[Path(f'/proc/{pid}/cmdline').read_bytes() for pid in left]}")


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("undisturbed") / "t.parquet"
    return embed(FakeSource(N), FakeEncoder(), out, batch=32, shard_rows=64).fingerprint


def check(out: Path, fingerprint: str) -> None:
    table, skipped = read_table(out).validate(), read_skipped(out)
    assert table.fingerprint() == fingerprint
    assert len(table) + len(skipped) == N
    assert {*table.ids, *(row.id for row in skipped)} == set(FakeSource(N).places().ids)
    assert sorted(path.name for path in out.parent.iterdir()) == sorted([out.name, "t.skipped.parquet"])


@pytest.mark.parametrize(("name", "workers", "rounds"), [("t.parquet", 1, 8), ("t.lance", 1, 8), ("t.parquet", 2, 4)])
def test_killed_again_and_again(tmp_path: Path, undisturbed: str, name: str, workers: int, rounds: int) -> None:
    out = tmp_path / name
    rng = random.Random(f"{name} {workers}")
    ended = False
    for _ in range(rounds):
        process = start(out, workers)
        time.sleep(rng.uniform(0.0, 0.35 if workers == 1 else 2.0))
        mine = children(process.pid) if process.poll() is None else []
        ended |= process.poll() is not None
        kill(process)
        all_end(mine)
        if out.exists() and not ended:
            try:  # killed between commit and clean-up, or (Lance) before it: a reader sees the whole table or none
                assert open_table(out).fingerprint() == undisturbed
            except FormatError:
                assert name.endswith(".lance")
    process = start(out, workers, pause=0.0)
    text, trouble = process.communicate(timeout=120)
    assert text.strip() == undisturbed, trouble
    check(out, undisturbed)


def test_killed_in_every_shard(tmp_path: Path, undisturbed: str) -> None:
    # Deterministic besides the random moments: each run does one shard more and is killed in the next one.
    out = tmp_path / "t.parquet"
    for done in range(1, 10, 3):
        process = start(out, pause=0.05)
        folder = job_folder(out)
        while len(list(folder.glob("shard-*.json"))) < done:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        kill(process)
        assert not out.exists()
    summary = embed(FakeSource(N), FakeEncoder(), out, batch=32, shard_rows=64)
    assert summary.resumed == 0 or summary.resumed >= 7
    check(out, undisturbed)


def test_ctrl_c_in_a_terminal_stops_all_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    process = subprocess.Popen(
        [sys.executable, TESTS / "embed_driver.py", str(out), str(N), "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "FAKE_PAUSE": "0.5"},
    )
    folder = job_folder(out)
    while not list(folder.glob("shard-*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    mine = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: driver and workers alike
    _, trouble = process.communicate(timeout=60)
    assert "of 10 shards; the same command goes on from there" in trouble
    assert trouble.count("Traceback") == 1  # the driver's own; the command line shows none
    all_end(mine)
    assert embed(FakeSource(N), FakeEncoder(), out, batch=32, shard_rows=64).resumed >= 1


def test_two_drivers_at_once(tmp_path: Path, undisturbed: str) -> None:
    out = tmp_path / "t.parquet"
    first = start(out, pause=0.1)
    while not (job_folder(out) / "job.json").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    second = start(out)
    _, trouble = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"is being worked on by process {first.pid} on" in trouble
    text, trouble = first.communicate(timeout=120)
    assert text.strip() == undisturbed, trouble


@pytest.mark.parametrize("name", ["t.parquet", "t.lance"])
def test_damaged_fragments_are_done_again(tmp_path: Path, undisturbed: str, name: str) -> None:
    out = tmp_path / name
    process = start(out, pause=0.05)
    folder = job_folder(out)
    while len(list(folder.glob("shard-*.json"))) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    kill(process)
    fragments = sorted(path for path in folder.rglob(f"*{out.suffix}") if path.is_file() and "skipped" not in path.name)
    cut, changed, gone = fragments[:3]
    cut.write_bytes(cut.read_bytes()[:-100])
    flipped = bytearray(changed.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    changed.write_bytes(flipped)
    gone.unlink()
    next(folder.glob("shard-00003.json")).write_text('{"shard": ')
    again = embed(FakeSource(N), FakeEncoder(), out, batch=32, shard_rows=64)
    assert again.fingerprint == undisturbed
    check(out, undisturbed)
