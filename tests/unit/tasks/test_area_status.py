"""`area info`: what is there, what is stale, and what comes next."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_fakes import register, small_area
from placevec.area import StudyArea
from placevec.cli.main import run as cli
from placevec.provenance import Space
from placevec.table import read_table, write_table
from placevec.tasks.area_status import STAGES, StageItem, area_status
from placevec.tasks.features import cell_features


@pytest.fixture
def area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyArea:
    register(monkeypatch)
    area = small_area(tmp_path / "box")
    (area.folder / "sources" / "parks.txt").write_text("trees")
    return area


def _features(area: StudyArea, **options: object) -> StageItem:
    source = area.folder / "sources" / "parks.txt"
    cell_features("greens", area=area, options={"map": str(source), "share": 1.0, **options})
    return _item(area, "greens.parquet")


def _item(area: StudyArea, name: str) -> StageItem:
    return next(item for item in area_status(area.folder) if item.name == name)


def test_an_empty_area_says_how_to_begin(tmp_path: Path) -> None:
    area = small_area(tmp_path / "my box")
    items = area_status(area.folder)
    assert tuple(item.stage for item in items) == STAGES
    assert {item.state for item in items} == {"missing"}
    told = {item.stage: item.next for item in items}
    assert told["features"] == f"placevec area features roads '{area.folder}' --osm FILE"
    assert told["targets"] == f"placevec area targets FILE --area '{area.folder}'"
    assert told["embeddings"] == told["results"] == ""
    (area.folder / "sources" / "city.osm.pbf").write_text("")
    assert "my box/sources/city.osm.pbf'" in {i.stage: i.next for i in area_status(area.folder)}["features"]


def test_tables_of_features(area: StudyArea) -> None:
    item = _features(area, share=0.5)
    assert (item.stage, item.state, item.why, item.next) == ("features", "there", "", "")
    assert (item.rows or 0) + (item.absent or 0) == len(area.cells())
    assert item.absent


def test_a_source_that_was_changed_makes_a_table_stale(area: StudyArea) -> None:
    _features(area, kinds=("a", "b"), deep=False, level="high")
    made = (area.folder / "tables" / "greens.parquet").stat().st_mtime
    os.utime(area.folder / "sources" / "parks.txt", (made + 10, made + 10))
    item = _item(area, "greens.parquet")
    assert (item.state, item.why) == ("stale", "parks.txt was changed after it")
    assert item.next == (
        f"placevec area features greens {area.folder} --map {area.folder}/sources/parks.txt --share 1.0 --kinds a "
        f"--kinds b --level high --no-deep -o {area.folder}/tables/greens.parquet"
    )
    assert cli(item.next.split()[1:]) == 0
    os.utime(area.folder / "sources" / "parks.txt", (made - 10, made - 10))
    assert _item(area, "greens.parquet").state == "there"


def test_tables_of_other_cells_are_stale(area: StudyArea) -> None:
    _features(area)
    path = area.folder / "tables" / "greens.parquet"
    table = read_table(path)
    write_table(table.take(np.arange(len(table) - 3)), path)
    assert _item(area, "greens.parquet").why == f"it tells of {len(table) - 3} of {len(table)} cells"
    north = StudyArea.from_bbox((-51.26, -29.98, -51.19, -29.92), resolutions=(8, 7))
    cell_features("greens", path, cells=north.cells(), options={"map": str(area.folder / "area.toml")})
    assert "of its cells are not of this area" in _item(area, "greens.parquet").why


def test_what_is_made_of_other_tables(area: StudyArea) -> None:
    _features(area)
    tables = area.folder / "tables"
    table = read_table(tables / "greens.parquet")
    other = table.with_vectors(table.vectors() * 2, Space.mint(2, metric="l2"))
    write_table(other, tables / "other.parquet")
    both = (table.fingerprint(), other.fingerprint())
    write_table(table.with_vectors(table.vectors(), Space.mint(2), parents=both), tables / "fused.parquet")
    assert (_item(area, "fused.parquet").stage, _item(area, "fused.parquet").state) == ("embeddings", "there")
    _features(area, reach=5.0)
    assert _item(area, "fused.parquet").state == "there"  # the same vectors, whatever the footer says
    _features(area, share=0.4)
    assert _item(area, "fused.parquet").why == "a table that it was made of was made again, or is gone"


def test_other_stages_and_what_cannot_be_read(area: StudyArea, capsys: pytest.CaptureFixture[str]) -> None:
    home = area.folder
    keys = "\n".join(f"{int(cell):x},1" for cell in area.cells())
    (home / "sources" / "t.csv").write_text(f"id,n\n{keys}\n")
    assert cli(["area", "targets", str(home / "sources" / "t.csv"), "--area", str(home)]) == 0
    (home / "tables" / "cut.parquet").write_text("PAR1")
    (home / "models" / "net").mkdir()
    (home / "models" / "net" / "card.json").write_text("{}")
    (home / "models" / "bad").mkdir()
    (home / "models" / "bad" / "card.json").write_text("{")
    (home / "results" / "probe.json").write_text("[]")
    (home / "figures" / "map.png").write_text("")
    capsys.readouterr()
    assert cli(["area", "info", str(home)]) == 0
    facts = json.loads(capsys.readouterr().out)
    found = {(item["stage"], item["name"]): item["state"] for item in facts["stages"]}
    assert found[("targets", "targets.parquet")] == "there"
    assert found[("features", "cut.parquet")] == "unreadable"
    assert found[("models", "net")] == "there"
    assert found[("models", "bad")] == "unreadable"
    assert found[("results", "probe.json")] == found[("figures", "map.png")] == "there"
    assert found[("graphs", "")] == "missing"
    assert facts["name"] == "box"


def test_columns_that_were_left_out_stay_out_and_clusters_are_no_features(area: StudyArea) -> None:
    source = area.folder / "sources" / "parks.txt"
    out = area.folder / "tables" / "some.parquet"
    cell_features("greens", out, area=area, options={"map": str(source), "share": 1.0}, only=["lat"])
    os.utime(out, (0, 0))
    item = _item(area, "some.parquet")
    assert item.state == "stale"
    assert " --only lat -o " in item.next
    table = read_table(out)
    column = pa.array(np.zeros(len(table), dtype=np.int64))
    write_table(table.with_column("cluster", column), area.folder / "tables" / "parts.parquet")
    parts = _item(area, "parts.parquet")
    assert (parts.stage, parts.state, parts.next) == ("embeddings", "there", "")
