"""What there is to reach, from files of points and of cells."""

from __future__ import annotations

from pathlib import Path

import h3
import pytest

from placevec.errors import DataError, SchemaError, UsageError
from placevec.features.access import read_opportunities
from placevec.provenance import Saw

CELL = h3.latlng_to_cell(50.0, 10.0, 9)
COARSE = h3.latlng_to_cell(50.1, 10.1, 7)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_columns_of_cells(tmp_path: Path) -> None:
    path = write(tmp_path / "cells.csv", f"id,jobs,schools\n{CELL},12,1\n{COARSE},,3\nnone,5,5\n{CELL},0,0\n")
    found = read_opportunities([path], ["jobs", "schools"])
    assert found.names == ("jobs", "schools")
    assert found.weights.tolist() == [[12, 1], [0, 3]]
    assert found.where.lat == pytest.approx([h3.cell_to_latlng(CELL)[0], h3.cell_to_latlng(COARSE)[0]])
    assert found.saw == (Saw("", "jobs"), Saw("", "schools"))
    assert found.notes == ("1 rows of cells.csv have no jobs: they count 0", "1 rows of cells.csv name no H3 cell")


def test_points_count_1_or_what_their_column_says(tmp_path: Path) -> None:
    parks = write(tmp_path / "parks.csv", "id,lon,lat\na,10,50\nb,10.1,50.1\n")
    shops = write(tmp_path / "shops.csv", "lon,lat,staff\n10,50,4\n10.2,50,0\n")
    found = read_opportunities([parks, shops], ["staff"])
    assert found.names == ("staff", "parks")
    assert found.weights.tolist() == [[0, 1], [0, 1], [4, 0]]
    assert found.notes == ("each of the 2 points of parks.csv counts 1, as 'parks'",)
    geojson = write(
        tmp_path / "stops.geojson",
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},"geometry":'
        '{"type":"Point","coordinates":[10,50]}}]}',
    )
    assert read_opportunities([geojson]).names == ("stops",)


def test_what_cannot_be_counted(tmp_path: Path) -> None:
    cells = write(tmp_path / "cells.csv", f"h3,jobs,name\n{CELL},-1,x\n")
    with pytest.raises(UsageError, match="which columns of these cells are opportunities"):
        read_opportunities([cells])
    with pytest.raises(UsageError, match="no opportunities are given"):
        read_opportunities([])
    with pytest.raises(DataError, match="jobs is -1 in a row"):
        read_opportunities([cells], ["jobs"])
    with pytest.raises(SchemaError, match="'name' holds no numbers"):
        read_opportunities([cells], ["name"])
    points = write(tmp_path / "points.csv", "lon,lat,jobs\n10,50,0\n")
    with pytest.raises(UsageError, match="no file of opportunities has a column 'job'.*jobs"):
        read_opportunities([points], ["job"])
    with pytest.raises(DataError, match="there are no opportunities: jobs are 0 everywhere"):
        read_opportunities([points], ["jobs"])
