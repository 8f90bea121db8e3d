"""Work side by side: in order, the first error raised, one thread of linear algebra each."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest
from threadpoolctl import threadpool_info

from placevec.measure import parallel
from placevec.measure.parallel import in_parallel


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_results_come_in_order(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "workers", lambda: cores)

    def slow(i: int) -> int:
        time.sleep(0.002 * (5 - i % 5))
        return i

    assert list(in_parallel([partial(slow, i) for i in range(20)])) == list(range(20))
    assert list(in_parallel([])) == []


def test_the_first_error_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "workers", lambda: 2)
    begun: list[int] = []

    def work(i: int) -> int:
        begun.append(i)
        time.sleep(0.01)
        if i == 3:
            raise ValueError("the third")
        return i

    found = in_parallel([partial(work, i) for i in range(200)])
    with pytest.raises(ValueError, match="the third"):
        list(found)
    assert len(begun) < 50


def test_linear_algebra_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "workers", lambda: 2)

    def threads() -> tuple[int, str]:
        # Other packages bring libraries of their own, which the fits of a probe do not call.
        ours = [one for one in threadpool_info() if "numpy" in one["filepath"] or "scipy" in one["filepath"]]
        return max(one["num_threads"] for one in ours), threading.current_thread().name

    assert {count for count, _ in in_parallel([threads] * 4)} == {1}


@pytest.mark.parametrize(("told", "most"), [("1", 1), ("", 10_000), ("many", 10_000)])
def test_the_limit_of_the_environment(told: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert 1 <= parallel.workers() <= most
