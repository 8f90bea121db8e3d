"""The benchmarks of retrieval and search run, whole and small: a claim that fails there is one of correctness."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "retrieval.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("parts", "packages", "titles"),
    [
        ("evaluation", (), ["300 images x 1,500 captions x 64"]),
        ("index", ("faiss",), ["2,000 x 256"]),
        (
            "images,crops,decoding,captions",
            ("torch", "transformers", "PIL"),
            ["Encoding of images", "The crops of one image", "JPEG files to 64 x 64", "Captions of 5 to 17 words"],
        ),
    ],
)
def test_a_quick_run_shows_its_tables_and_its_claims_hold(
    parts: str, packages: tuple[str, ...], titles: list[str]
) -> None:
    for package in packages:
        pytest.importorskip(package)
    done = run("--quick", "--rounds", "1", "--parts", parts)
    assert done.returncode == 0, done.stdout + done.stderr
    for title in (*titles, "Claims"):
        assert f"{title}" in done.stdout
    assert "| NO" not in done.stdout


def test_the_benchmark_of_search_runs_whole_and_small() -> None:
    for package in ("faiss", "lance", "qdrant_edge"):
        pytest.importorskip(package)
    command = [sys.executable, str(SCRIPT.with_name("search.py")), "--smoke"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for contestant in ("placevec", "placevec hnsw", "faiss HNSW", "faiss IVF", "lance", "qdrant-edge"):
        assert f"| {contestant} " in done.stdout
    assert "| NO" not in done.stdout


def test_an_unknown_part_is_named() -> None:
    done = run("--parts", "speed")
    assert done.returncode == 2
    assert "there is no part 'speed': the parts are images, crops" in done.stderr
