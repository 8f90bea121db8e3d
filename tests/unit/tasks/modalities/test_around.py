"""The roads around the cells of a city, of a file that holds more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion_porto_alegre import porto_alegre
from osm_town import LAT, LON, STEP, Town
from placevec.geo.boxes import box_polygon
from placevec.geo.cells import H3Cells
from placevec.tasks.modalities.around import box_around, roads_around
from placevec.tasks.modalities.raster import RasterModality
from placevec.tasks.modalities.roads import RoadModality
from placevec.tasks.modalities.transit import Transit


@pytest.mark.parametrize("bounds", [None, (0, 0, 200, 200)])
def test_far_roads_are_left_out_and_change_nothing(tmp_path: Path, bounds: tuple[int, int, int, int] | None) -> None:
    town = Town()
    for k in range(0, 200, 4):
        town.way([(x, k) for x in range(0, 200, 4)], highway="residential")
        town.way([(k, y) for y in range(0, 200, 4)], highway="tertiary")
    path = town.write(tmp_path / "town.osm", bounds=bounds)
    cells = H3Cells(9).cover(box_polygon((LON, LAT, LON + 8 * STEP, LAT + 8 * STEP)))
    part = roads_around(path, cells, 0.0)
    whole = roads_around(path, H3Cells(6).cover(box_polygon((LON, LAT, LON + 200 * STEP, LAT + 200 * STEP))), 0.0)
    assert 0 < len(part) < len(whole) / 2
    assert part.covers(cells).tolist() == whole.covers(cells).tolist()
    # As it would be from the whole file: columns do not know what was left out.
    found = RoadModality(osm=str(path)).compute(cells)
    everywhere = H3Cells(9).cover(box_polygon((LON, LAT, LON + 200 * STEP, LAT + 200 * STEP)))
    at = np.searchsorted(np.sort(everywhere), cells)
    np.testing.assert_allclose(found.values, RoadModality(osm=str(path)).compute(np.sort(everywhere)).values[at])
    assert len(found.sources[0].sha256) == 64


def test_a_box_around_cells() -> None:
    assert box_around(np.zeros(0, dtype=np.uint64)) is None
    around = H3Cells(5).cover(box_polygon((179.0, -18.0, -179.0, -17.0)))
    assert box_around(around) is None
    cells = H3Cells(9).cover(box_polygon((10.0, 60.0, 10.1, 60.05)))
    west, south, east, north = box_around(cells, 1000.0) or (0, 0, 0, 0)
    assert 9.97 < west < 9.99
    assert 10.11 < east < 10.13
    assert 59.98 < south < 59.99
    assert 60.06 < north < 60.07


def test_the_columns_of_the_reference_can_be_made(data_dir: Path) -> None:
    """Options and plain code give the same numbers, so that the figures of the reference can be made by commands."""
    city, here = porto_alegre(data_dir), data_dir / "porto_alegre"
    osm, feeds = str(here / "poa_osm.pbf"), (here / "poa_eptc.zip", here / "poa_trensurb.zip")
    classes = (
        *("motorway", "trunk", "primary", "secondary", "tertiary", "residential", "living_street", "service"),
        *("footway", "path", "cycleway", "steps", "pedestrian", "unclassified"),
    )
    made = {
        "roads": RoadModality(osm=osm, every=True, cut=False, classes=classes).compute(city.cells),
        "transit": Transit(gtfs=feeds, service="all", times="stated").compute(city.cells),
        "terrain": RasterModality(raster=(str(here / "poa_elevation.tif"),), statistics=("mean", "sd", "min", "max"))
        .compute(city.cells),
    }  # fmt: skip
    wanted = {
        "roads": [*(f"{name}_m" for name in classes), "other_m", "intersections_3", "intersections_4", "dead_ends"],
        "transit": ["stops", "calls", "calls_7_to_10", "routes_at_best_stop"],
    }
    for name, found in made.items():
        theirs = np.asarray(city.blocks[name].values)
        columns = [f"log1p({one})" for one in wanted[name]] if name in wanted else list(found.names)
        ours = found.values[:, [found.names.index(one) for one in columns]]
        apart = np.abs(ours - theirs)[found.present]
        # One way in a thousand is a mere "road", which counts to the unclassified here, to the others there; and the
        # deviation of heights is that of all pixels, not of a sample.
        close = (apart < (0.2 if name == "terrain" else 2e-3)).mean(axis=0)
        assert found.present.mean() > 0.99
        assert (close > 0.98).all(), dict(zip(columns, close.round(3), strict=True))
