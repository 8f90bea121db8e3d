"""The demo, small: on the generated country always, on real data where it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from placevec.table import open_table
from placevec.tasks.demo import demo

FULL = __import__("os").environ.get("PLACEVEC_STORIES") == "full"


def check(folder: Path, report: Path) -> str:
    html = report.read_text()
    assert "<h2" in html
    # One file, nothing fetched.
    assert not re.findall(r"(?:src|href)=[\"']https?://", html)
    baselines = ("mean", "sin/cos of coordinates", "coordinates · kNN", "coordinates · GP", "raw features", "untrained")
    for baseline in baselines:
        assert baseline in html, f"the report lacks the baseline {baseline!r}"
    assert "Compulsory baselines that could not be made" not in html
    assert html.count("<img") >= 8
    for name in ("image", "location", "raw", "image-untrained", "location-untrained"):
        assert open_table(folder / f"tables/{name}.parquet").num_rows > 300
    image, location = (open_table(folder / f"tables/{name}.parquet") for name in ("image", "location"))
    image.space.require(location.space)
    assert (image.meta.tower, location.meta.tower) == ("image", "location")
    probes = json.loads((folder / "results/probe.json").read_text())
    assert {probe["target"] for probe in probes} == {"elevation", "night lights"}
    assert {row["split"] for probe in probes for row in probe["rows"]} == {"random", "block"}
    return html


@pytest.mark.slow
def test_demo_without_any_data(tmp_path: Path, monkeypatch) -> None:
    import geopandas

    monkeypatch.setenv("PLACEVEC_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    notes: list[str] = []
    made = demo("iberia", tmp_path / "arcadia", smoke=not FULL, note=notes.append)
    assert made.generated
    assert any("generated country" in note for note in notes)
    html = check(tmp_path / "arcadia", made.report)
    assert "This country does not exist" in html
    assert len(geopandas.read_parquet(tmp_path / "arcadia/tables/image.parquet")) > 300
    # Run again, nothing is done again.
    again = demo("iberia", tmp_path / "arcadia", smoke=not FULL)
    assert again.run.done == ()


@pytest.mark.slow
@pytest.mark.real
def test_demo_of_a_country_by_name(tmp_path: Path, data_dir: Path) -> None:
    made = demo("Portugal" if not FULL else "Kenya", tmp_path / "country", smoke=not FULL)
    assert not made.generated
    html = check(tmp_path / "country", made.report)
    assert "NASA Blue Marble" in html
    assert data_dir.is_dir()


@pytest.mark.real
def test_a_country_that_does_not_exist_is_named(tmp_path: Path, data_dir: Path) -> None:
    from placevec.errors import UsageError

    with pytest.raises(UsageError, match="Portugall"):
        demo("Portugall", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert data_dir.is_dir()
