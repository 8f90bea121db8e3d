"""Files are written whole or not at all, and what a kill left is cleared away by the next attempt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from placevec.files import PART, whole, write_text

KILLED = """
import os, signal, sys
from placevec.files import whole
with whole(sys.argv[1]) as part:
    if sys.argv[2] == "folder":
        part.mkdir()
        part = part / "inside"
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    goal = tmp_path / "a.txt"
    write_text(goal, "old")
    with pytest.raises(RuntimeError), whole(goal) as part:
        part.write_text("half")
        raise RuntimeError
    assert goal.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("form", ["file", "folder"])
def test_what_a_kill_left_is_removed_by_the_next_attempt(tmp_path: Path, form: str) -> None:
    goal = tmp_path / "a[1].txt"  # brackets are no pattern
    subprocess.run([sys.executable, "-c", KILLED, str(goal), form], check=False)
    assert [PART in name for name in names(tmp_path)] == [True]
    write_text(goal, "new")
    assert names(tmp_path) == [goal.name]
    assert goal.read_text() == "new"


def test_the_unfinished_file_of_a_living_process_stays(tmp_path: Path) -> None:
    goal = tmp_path / "a.txt"
    with whole(goal) as first:
        first.write_text("first")
        write_text(goal, "second")
        assert first.exists()
    assert goal.read_text() == "first"
    foreign = tmp_path / f".a.txt{PART}00000000-{os.getpid()}-0"  # of another machine: nobody knows whether it lives
    foreign.write_text("half")
    write_text(goal, "third")
    assert foreign.exists()
