"""The modalities of points of interest: sources, what is unknown, and what counts as seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from osm_town import LAT, LON, STEP, Town
from placevec.errors import DataError, PlacevecError, SchemaError, UsageError
from placevec.features.modality import CellFeatures
from placevec.geo.boxes import box_polygon
from placevec.geo.cells import H3Cells
from placevec.tasks.modalities.poi import PoiModality
from placevec.tasks.modalities.poi_hex2vec import PoiHex2VecModality

BOX = (LON, LAT, LON + 12 * STEP, LAT + 12 * STEP)
CELLS = H3Cells(9).cover(box_polygon(BOX))


def cell_of(x: float, y: float) -> int:
    """The row of the cell at steps of the town's grid."""
    from placevec.geo.sphere import LonLat

    cell = H3Cells(9).assign(LonLat.of(LON + x * STEP, LAT + y * STEP))[0]
    return int(np.flatnonzero(cell == CELLS)[0])


@pytest.fixture(scope="module")
def osm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Cafes in the west, shops in the east; the file ends before the north."""
    town = Town()
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(0, 12, (300, 2)).round(4).tolist():
        if y < 8:
            town.node(x, y, **({"amenity": "cafe"} if x < 6 else {"shop": "clothes"}))
    return str(town.write(tmp_path_factory.mktemp("osm") / "town.osm", bounds=(0, 0, 12, 8)))


def column(found: CellFeatures, name: str) -> np.ndarray:
    return found.values[:, found.names.index(name)]


def test_of_openstreetmap(osm: str) -> None:
    found = PoiModality(osm=osm).compute(CELLS)
    assert 0 < found.present.sum() < len(CELLS)
    assert not found.present[cell_of(6, 11)]
    assert found.absent == "outside of what town.osm covers"
    assert column(found, "log1p(cafe)")[cell_of(2, 4)] > 0
    assert column(found, "log1p(clothes)")[cell_of(2, 4)] == 0
    assert found.sources[0].licence == "ODbL-1.0"
    assert len(found.sources[0].sha256) == 64
    assert found.saw == ()
    back = PoiModality(osm=osm).compute(CELLS[::-1])
    np.testing.assert_array_equal(back.values[::-1], found.values)
    by_group = PoiModality(osm=osm, by="group", form="density").compute(CELLS)
    assert "log1p(food_per_km2)" in by_group.names
    np.testing.assert_allclose(
        np.expm1(column(by_group, "log1p(points_per_km2)")),
        np.expm1(column(by_group, "log1p(food_per_km2)")) + np.expm1(column(by_group, "log1p(shop_per_km2)")),
        rtol=1e-4,
    )


def test_of_a_file_of_points(osm: str, tmp_path: Path) -> None:
    path = tmp_path / "schools.csv"
    rows = [
        (2, 4, "primary", 100),
        (2, 4, "secondary", 300),
        (9, 4, "primary", 50),
        (9, 4, "", 7),
        (9, 4, "primary", ""),
    ]
    lines = [f"{LON + x * STEP},{LAT + y * STEP},{kind},{size}" for x, y, kind, size in rows]
    path.write_text("lon,lat,stage,places\n" + "\n".join(lines) + "\n")
    one = PoiModality(points=str(path)).compute(CELLS)
    assert one.names[0] == "log1p(schools)"
    assert one.present.all()
    assert np.expm1(column(one, "log1p(schools)"))[cell_of(9, 4)] == pytest.approx(3)
    two = PoiModality(points=str(path), category="stage", weight="places").compute(CELLS)
    assert two.names[:2] == ("log1p(primary)", "log1p(secondary)")
    assert np.expm1(column(two, "log1p(secondary)"))[cell_of(2, 4)] == pytest.approx(300)
    assert np.expm1(column(two, "log1p(primary)"))[cell_of(9, 4)] == pytest.approx(50)
    assert any("2 rows of schools.csv" in note for note in two.notes)
    assert {saw.column for saw in two.saw} == {"schools", "places", "primary", "secondary"}
    both = PoiModality(osm=osm, points=str(path), by="group").compute(CELLS)
    assert "log1p(food)" in both.names
    assert "log1p(schools)" in both.names
    assert not both.present.all()
    place = {"type": "Point", "coordinates": [LON + 2 * STEP, LAT + 4 * STEP]}
    features = [{"type": "Feature", "properties": {"cafe": 1}, "geometry": where} for where in (place, None)]
    (tmp_path / "cafe.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    same = PoiModality(osm=osm, points=str(tmp_path / "cafe.geojson")).compute(CELLS)
    assert {"log1p(cafe)", "log1p(points_cafe)"} <= set(same.names)
    assert any("1 rows of cafe.geojson" in note for note in same.notes)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, UsageError, "--osm"),
        ({"osm": "x.osm", "weight": "w"}, UsageError, "--points"),
        ({"points": "POINTS", "category": "kind"}, SchemaError, "no column 'kind'"),
        ({"points": "POINTS", "weight": "name"}, SchemaError, "holds no numbers"),
        ({"points": "gone.csv"}, UsageError, "gone.csv"),
        ({"osm": "gone.osm"}, DataError, "gone.osm"),
        ({"points": "POINTS", "by": "kind"}, UsageError, "leaf or group"),
    ],
)
def test_requests_that_cannot_be_met(
    given: dict[str, str], error: type[PlacevecError], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "points.csv"
    path.write_text(f"lon,lat,name\n{LON},{LAT},a\n")
    given = {key: str(path) if value == "POINTS" else value for key, value in given.items()}
    with pytest.raises(error, match=message):
        PoiModality(**given).compute(CELLS)


def test_an_extract_of_elsewhere_has_no_rows(osm: str) -> None:
    away = H3Cells(9).cover(box_polygon((0.0, 0.0, 0.02, 0.02)))
    found = PoiModality(osm=osm).compute(away)
    assert not found.present.any()
    assert found.values.shape[0] == len(away)


def test_a_file_without_any_point_is_no_city_of_zeros(tmp_path: Path) -> None:
    town = Town()
    town.way([(0, 0), (12, 12)], highway="residential")
    roads = str(town.write(tmp_path / "roads.osm", bounds=(0, 0, 12, 12)))
    with pytest.raises(DataError, match="no point of interest around the .* was it not filtered to roads"):
        PoiModality(osm=roads).compute(CELLS)


def test_learned_vectors(osm: str, tmp_path: Path) -> None:
    told: list[str] = []
    cells = H3Cells(10).cover(box_polygon(BOX))
    settings = PoiHex2VecModality(osm=osm, dims=8, epochs=3, batch_size=32, run=str(tmp_path / "run"))
    found = settings.compute(cells, lambda what, _, __: told.append(what))
    assert found.space is not None
    assert found.values.shape == (len(cells), 8)
    assert "training" in told
    assert np.isfinite(found.values).all()
    again = PoiHex2VecModality(osm=osm, dims=8, epochs=3, batch_size=32).compute(cells[::-1])
    np.testing.assert_array_equal(again.values[::-1], found.values)
    assert again.space == found.space
    other = PoiHex2VecModality(osm=osm, dims=8, epochs=3, batch_size=32, seed=1).compute(cells)
    assert other.space != found.space


@pytest.mark.real
def test_porto_alegre(data_dir: Path) -> None:
    from placevec.sources.targets import cells_of_file

    folder = data_dir / "porto_alegre"
    cells = cells_of_file(folder / "poa_hexgrid.csv")
    found = PoiModality(
        osm=str(folder / "poa_osm.pbf"), points=str(folder / "poa_hexgrid.csv"), weight="schools"
    ).compute(cells)
    assert found.present.sum() > 1200
    assert "schools" in {saw.column for saw in found.saw}
