"""probe, cluster, map, info and doctor on tables of the disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import make_table
from placevec.errors import FormatError, LeakError, SchemaError, SpaceMismatch, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.measure.splits import block_split
from placevec.provenance import Saw, Space
from placevec.table import EmbeddingTable, Places, read_table, write_table
from placevec.tasks.cluster import cluster
from placevec.tasks.doctor import doctor
from placevec.tasks.info import info
from placevec.tasks.map import map_tables
from placevec.tasks.probe import probe, read_residuals


def cells_table(path: Path, *, saw: tuple[Saw, ...] = (), seed: int = 0, space: Space | None = None) -> EmbeddingTable:
    grid = H3Cells(5)
    rng = np.random.default_rng(seed)
    cells = np.unique(grid.assign(LonLat(rng.uniform(-9, 3, 400), rng.uniform(36, 43, 400))))
    centre = grid.centre(cells)
    wave = np.column_stack([np.sin(centre.lon), np.cos(centre.lat), np.sin(centre.lat * 2)])
    vectors = wave @ rng.standard_normal((3, 8)) + 0.1 * rng.standard_normal((len(cells), 8))
    places = Places.create(
        [f"{cell:x}" for cell in cells],
        centre,
        h3=cells,
        attributes={"height": wave[:, 0] * 100 + wave[:, 1] * 20, "kind": np.where(wave[:, 2] > 0, "wet", "dry")},
    )
    table = EmbeddingTable.of(
        places, vectors, space or Space.mint(8), tower="image", saw=saw, chip_layout={"ground_m": 20_000.0}
    )
    write_table(table, path)
    return table


def test_probe_of_a_column_with_everything(tmp_path: Path) -> None:
    table = cells_table(tmp_path / "image.parquet")
    cells_table(tmp_path / "image-untrained.parquet", seed=0)
    out = tmp_path / "probe.json"
    (report,) = probe(
        tmp_path / "image.parquet",
        "height",
        raw=tmp_path / "image.parquet",
        untrained=[tmp_path / "image-untrained.parquet"],
        shuffles=1,
        out=out,
    )
    assert report.absent == ()
    assert {row.split for row in report.rows} == {"random", "block"}
    assert any(row.features.startswith("untrained image ") for row in report.rows)
    assert report.splits[1].buffer_m == 20_000.0
    stored = json.loads(out.read_text())
    assert stored[0]["target"] == "height"
    places = read_residuals(out)
    assert np.isfinite(places.column("residual_height")).sum() == len(table)


def test_probe_of_labels_from_a_file(tmp_path: Path) -> None:
    table = cells_table(tmp_path / "image.parquet")
    rows = [f"{i},{lon},{lat},{v}" for i, lon, lat, v in zip(table.ids, table.lon, table.lat, table.lon, strict=True)]
    (tmp_path / "labels.csv").write_text("id,lon,lat,value\n" + "\n".join(rows[:200]) + "\n")
    (report,) = probe(tmp_path / "image.parquet", "value", labels=tmp_path / "labels.csv", shuffles=1, block="h3:2")
    assert report.n == 200


def test_labels_that_were_seen_are_refused(tmp_path: Path) -> None:
    clean = cells_table(tmp_path / "clean.parquet")
    split = block_split(clean.lonlat(), "h3:2", 4)
    saw = (Saw(clean.fingerprint(), "height", split.spec, (1, 2, 3)),)
    cells_table(tmp_path / "taught.parquet", saw=saw)
    with pytest.raises(LeakError, match="'taught' were fitted on the labels 'height' of"):
        probe(tmp_path / "taught.parquet", "height", shuffles=1)
    probe(tmp_path / "taught.parquet", "kind", shuffles=1, block="h3:2")
    (report,) = probe(tmp_path / "taught.parquet", "height", shuffles=1, block="h3:3", unseen=True, buffer_m=0)
    assert report.n == int((split.fold == 0).sum())
    everything = (Saw("", "height"),)
    cells_table(tmp_path / "all.parquet", saw=everything)
    from placevec.cli.main import run

    assert run(["probe", str(tmp_path / "all.parquet"), "-t", "height", "-q"]) == 1


def test_probes_say_what_is_wrong(tmp_path: Path) -> None:
    cells_table(tmp_path / "a.parquet")
    write_table(make_table(50), tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="'rain' is no column"):
        probe(tmp_path / "a.parquet", "rain")
    with pytest.raises(SchemaError, match="no id in common"):
        probe([tmp_path / "a.parquet", tmp_path / "b.parquet"], "height")
    with pytest.raises(UsageError, match="neither|no raster"):
        probe(tmp_path / "a.parquet", "height=nothere.tif")


def test_clusters_are_written_as_columns(tmp_path: Path) -> None:
    cells_table(tmp_path / "image.parquet")
    found = cluster(tmp_path / "image.parquet", tmp_path / "c.parquet", k=5)
    assert set(read_table(tmp_path / "c.parquet").column("cluster")) == set(range(5))
    assert found.levels[0].sizes.sum() == len(found.labels)
    cluster(tmp_path / "image.parquet", tmp_path / "h.parquet", k=6, method="hierarchical")
    assert {"cluster", "cluster_5", "cluster_4", "cluster_3"} <= set(read_table(tmp_path / "h.parquet").attributes)


def test_maps_share_a_basis_and_are_georeferenced(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    table = cells_table(tmp_path / "one.parquet")
    cells_table(tmp_path / "two.parquet", seed=1, space=table.space)
    basis = tmp_path / "basis.json"
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    drawn = map_tables(paths, tmp_path / "map.png", basis=basis, width=300)
    assert [one.png.name for one in drawn] == ["map-one.png", "map-two.png"]
    assert basis.exists()
    with rasterio.open(drawn[0].geotiff) as raster:
        assert raster.crs.to_epsg() == 4326
        assert raster.count == 4
        west, south, east, north = raster.bounds
        assert west < table.lon.min() < table.lon.max() < east
        assert south < table.lat.min() < table.lat.max() < north
    again = map_tables([tmp_path / "one.parquet"], tmp_path / "again.png", basis=basis, width=300)
    assert again[0].png.read_bytes()[:4] == b"\x89PNG"
    for by in ("height", "kind"):
        (one,) = map_tables([tmp_path / "one.parquet"], tmp_path / f"{by}.png", by=by, width=300)
        assert one.rows == len(table)
    with pytest.raises(UsageError, match="give --like"):
        map_tables([tmp_path / "one.parquet"], tmp_path / "x.png", by="similarity")
    with pytest.raises(UsageError, match="'rain' is no column"):
        map_tables([tmp_path / "one.parquet"], tmp_path / "x.png", by="rain")
    cells_table(tmp_path / "other.parquet", seed=2)
    with pytest.raises(SpaceMismatch):
        map_tables([tmp_path / "one.parquet", tmp_path / "other.parquet"], tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_info_tells_what_lies_there(tmp_path: Path) -> None:
    table = cells_table(tmp_path / "image.parquet")
    facts = info(tmp_path / "image.parquet")
    assert facts["rows"] == len(table)
    assert facts["fingerprint"] == table.fingerprint()
    assert facts["placevec"]["space"]["id"] == table.space.id
    with pytest.raises(FormatError, match="there is nothing"):
        info(tmp_path / "nothing")
    with pytest.raises(FormatError, match="neither a study area nor a model"):
        info(tmp_path)


def test_doctor_explains_a_broken_torchvision(tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    info_folder = tmp_path / "torchvision-0.99.0.dist-info"
    info_folder.mkdir()
    (info_folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.99.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("placevec.tasks.doctor._requirements", list)
    found = {one.what: one for one in doctor()}
    assert found["torchvision"].state == "broken"
    assert "pip uninstall torchvision" in found["torchvision"].advice
    assert "nms does not exist" in found["torchvision"].advice
    monkeypatch.setenv("PLACEVEC_DATA", str(tmp_path / "gone"))
    assert {one.what: one.state for one in doctor(deep=False)}["PLACEVEC_DATA"] == "broken"
