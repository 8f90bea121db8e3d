"""The benchmark of geocells runs, small: a claim that fails there is one of correctness."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hdbscan")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "geocells.py"


@pytest.mark.real
def test_a_quick_run_shows_its_tables_and_its_claims_hold(data_dir: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--rounds", "1"]
    env = {**os.environ, "PLACEVEC_DATA": str(data_dir)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    for title in ("6,000 photos", "What comes out", "Claims"):
        assert f"### {title}" in done.stdout
    assert "| NO" not in done.stdout


def test_without_the_data_it_says_what_it_needs() -> None:
    env = {key: value for key, value in os.environ.items() if key != "PLACEVEC_DATA"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"], check=False, capture_output=True, text=True, timeout=60, env=env
    )
    assert done.returncode == 1
    assert "set PLACEVEC_DATA" in done.stderr
