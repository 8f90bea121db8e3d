"""Images found in words on UC Merced, as a user meets it; `make stories` trains in full and holds it to its figures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from commands import placevec

RECIPE = Path(__file__).parents[2] / "examples" / "retrieval" / "ucm.toml"
FULL = os.environ.get("PLACEVEC_STORIES") == "full"


@pytest.mark.real
@pytest.mark.slow
def test_words_find_images(data_dir: Path, tmp_path: Path) -> None:
    assert data_dir.is_dir()
    smoke = [] if FULL else ["--smoke"]
    placevec(tmp_path, "train", str(RECIPE), "--quiet", *smoke)
    placevec(tmp_path, "run", str(RECIPE), "--quiet", *smoke)
    ucm = tmp_path / "ucm"
    report = json.loads((ucm / "results/retrieval.json").read_text(encoding="utf-8"))
    assert "mean recall" in json.dumps(report)
    assert (ucm / "figures/evidence.png").stat().st_size > 10_000
    assert len(json.loads((ucm / "results/search.json").read_text(encoding="utf-8"))["hits"]) == 8

    # The model is found by itself, and so are the captions that it was trained on.
    out, _ = placevec(tmp_path, "evaluate", "retrieval", "--quiet", "--format", "json")
    rows = [json.loads(line) for line in out.splitlines()]
    recall = next(row for row in rows if (row["definition"], row["measure"]) == ("official", "mean recall"))
    assert recall["chance"] == pytest.approx(2.52, abs=0.01)
    assert recall["ceiling"] == pytest.approx(76.94, abs=0.01)
    assert recall["value"] > (36.9 if FULL else recall["chance"])

    out, _ = placevec(
        tmp_path, "search", "ucm/tables/ucm.parquet", "--text", "two tennis courts beside trees", "-k", "8",
        "--format", "json",
    )  # fmt: skip
    hits = [json.loads(line) for line in out.splitlines()]
    assert [hit["rank"] for hit in hits] == list(range(1, 9))
    if FULL:
        assert sum(hit["label"] == "tenniscourt" for hit in hits) >= 6
        _, said = placevec(tmp_path, "search", "ucm/tables/ucm.parquet", "--text", "an avocado armchair", "-k", "3")
        assert "no good match" in said
