"""Arrays computed once: they go on after a kill, other keys begin anew, and processes take turns."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

from placevec.train.locate.cache import cached, turns


class Counting:
    """Rows of squares, and which were asked for."""

    def __init__(self, factor: float = 1.0, stop: int | None = None) -> None:
        self.factor, self.stop = factor, stop
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> np.ndarray:
        if self.stop is not None and start >= self.stop:
            raise KeyboardInterrupt
        self.asked.append((start, stop))
        return self.factor * np.arange(start, stop)[:, None] ** 2 * np.ones(3)


def made(path: Path, key: str, compute: Counting, n: int = 10) -> np.ndarray:
    return cached(path, key, (n, 3), np.float32, compute, step=4)


def test_it_goes_on_after_the_last_step_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    broken = Counting(stop=8)
    with pytest.raises(KeyboardInterrupt):
        made(path, "a", broken)
    rest = Counting()
    found = made(path, "a", rest)
    assert broken.asked == [(0, 4), (4, 8)]
    assert rest.asked == [(8, 10)]
    np.testing.assert_array_equal(found[:, 1], np.arange(10.0) ** 2)
    assert not found.flags.writeable
    idle = Counting()
    np.testing.assert_array_equal(made(path, "a", idle), found)
    assert idle.asked == []


@pytest.mark.parametrize("how", ["key", "shape", "damaged mark", "no file"])
def test_what_is_something_else_is_made_anew(tmp_path: Path, how: str) -> None:
    path = tmp_path / "f.npy"
    before = made(path, "a", Counting())
    old = before[:].tolist()
    if how == "damaged mark":
        path.with_suffix(".json").write_text("[1]")
    elif how == "no file":
        path.unlink()
    again = Counting(factor=2.0)
    found = made(path, "b" if how == "key" else "a", again, 12 if how == "shape" else 10)
    assert again.asked[0] == (0, 4)
    np.testing.assert_array_equal(found[:, 0], 2.0 * np.arange(len(found)) ** 2)
    assert before[:].tolist() == old, "who reads the old rows still does"


def test_progress_tells_all_rows(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    cached(tmp_path / "f.npy", "a", (10, 3), np.float32, Counting(), step=4, progress=lambda *at: told.append(at))
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_one_at_a_time(tmp_path: Path) -> None:
    folder, order = tmp_path / "content", list[str]()

    def other() -> None:
        with turns(folder):
            order.append("second")

    with turns(folder):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(timeout=0.2)
        assert thread.is_alive()
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
