from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_fakes import FakeEncoder, FakeSource
from placevec.engine.embedding import EmbedWork
from placevec.engine.jobs import Job, job_folder, plan_shards
from placevec.engine.local import LocalEngine
from placevec.engine.work import Spec
from placevec.errors import MissingExtra, UsageError

WORK = "placevec.engine.embedding:EmbedWork"


def job_at(tmp_path: Path) -> Job:
    return Job(job_folder(tmp_path / "t.parquet"), {}, plan_shards(200, 50))


def spec() -> Spec:
    return Spec(WORK, {"source": FakeSource(200).spec(), "encoder": FakeEncoder().spec(), "batch": 32})


def need_what_is_not_there() -> None:
    raise MissingExtra("nothing", "none", "a test")


def test_workers_end_with_the_job(tmp_path: Path) -> None:
    job = job_at(tmp_path)
    with job.open():
        LocalEngine(workers=2).run(job, spec())
        assert job.todo() == []
    assert multiprocessing.active_children() == []


def test_one_process_and_two_give_equal_records(tmp_path: Path) -> None:
    one, two = job_at(tmp_path / "one"), job_at(tmp_path / "two")
    with one.open(), two.open():
        LocalEngine().run(one, EmbedWork(FakeSource(200), FakeEncoder(), 32))
        LocalEngine(workers=2).run(two, spec())
        assert {n: r.fingerprint for n, r in one.records.items()} == {n: r.fingerprint for n, r in two.records.items()}


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    job = Job(job_folder(tmp_path / "t.parquet"), {}, [])
    seen = []
    with job.open():
        LocalEngine(workers=4).run(job, Spec("no.such:thing"), lambda *a: seen.append(a))
    assert seen == [(0, 0, {"embedded": 0, "skipped": 0})]


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_ours_keep_their_class(tmp_path: Path, workers: int) -> None:
    job = job_at(tmp_path)
    with job.open(), pytest.raises(UsageError, match="module:function"):
        LocalEngine(workers=workers).run(job, Spec("no.such:thing"))
    with job.open(), pytest.raises(MissingExtra, match=r"placevec\[none\]"):
        LocalEngine(workers=workers).run(
            job, Spec("placevec.registry:need", {"package": "no_such_package", "extra": "none", "purpose": "a test"})
        )


def test_threads_are_set_for_workers_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    job = job_at(tmp_path)
    with job.open():
        LocalEngine(workers=2).run(job, spec())
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"threads": 0}])
def test_numbers_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        LocalEngine(**wrong)


def test_a_script_without_main_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from embedding_fakes import FakeEncoder, FakeSource\n"
        "from placevec.tasks.embed import embed\n"
        f"embed(FakeSource(), FakeEncoder(), {str(tmp_path / 't.parquet')!r}, workers=2)\n"
    )
    tests = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": tests}
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert run.returncode == 1
    assert 'if __name__ == "__main__":' in run.stderr.splitlines()[-1]


def test_the_engine_brings_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, placevec.engine.local, placevec.engine.embedding, placevec.tasks.embed, placevec.tasks.run; "
        "assert not {'torch', 'lance', 'rasterio', 'matplotlib'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
