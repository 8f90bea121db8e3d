"""The file of a stencil, and sources over it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import shapely

from placevec.errors import FormatError, SchemaError
from placevec.geo.cells import H3Cells
from placevec.provenance import SourceRef
from placevec.sources.base import Partitioned, Source
from placevec.sources.places import LonLatSource
from placevec.sources.polygons import Mask
from placevec.sources.stencil import Stencil, StencilSource, is_stencil, open_stencil, write_stencil
from placevec.table.fingerprint import fingerprint
from placevec.table.stored_places import StoredPlaces
from placevec.testing import check_source

AREA = shapely.box(175, -20, 188, -10)
REF = SourceRef("https://example.org/land.json", "0" * 64, "CC0", "me")


@pytest.fixture(scope="module")
def stencil(tmp_path_factory: pytest.TempPathFactory) -> Stencil:
    path = tmp_path_factory.mktemp("stencil") / "s.parquet"
    told = []
    mask = Mask.of([AREA], "box", (REF,))
    card = write_stencil(mask, path, 4, progress=lambda done, total, facts: told.append((done, total, dict(facts))))
    made = open_stencil(path)
    assert made.card == card
    assert told[-1][2] == {"cells": card.cells, "parts": len(made.parts)}
    assert all(done < total for done, total, _ in told)
    return made


def test_rows_are_the_cells_of_the_cover(stencil: Stencil) -> None:
    system = H3Cells(4)
    cells = system.cover(AREA)
    places = stencil.places()
    np.testing.assert_array_equal(places.column("h3"), cells)
    assert places.ids.tolist() == [f"{cell:x}" for cell in cells.tolist()]
    assert places.ids.tolist() == sorted(set(places.ids))
    centre = system.centre(cells)
    np.testing.assert_array_equal(places.lon, centre.lon)
    np.testing.assert_array_equal(places.lat, centre.lat)
    card = stencil.card
    assert (card.mask, card.resolution, card.parent, card.polygons) == ("box", 4, 0, 2)
    assert card.sources == (REF,)
    assert card.cells == len(cells)
    assert card.whole == (places.column("land") == "whole").sum() > 0
    assert stencil.fingerprint() == fingerprint([places.data])
    for part in stencil.parts:
        own = stencil.read(part.start, part.stop).column("h3")
        assert {f"{cell:x}" for cell in system.parent(own, 0).tolist()} == {part.key}


def test_what_is_a_stencil(stencil: Stencil, tmp_path: Path) -> None:
    assert is_stencil(stencil.path)
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    (tmp_path / "no.csv").write_text("id\n")
    for name in ("no.parquet", "no.csv", "absent.parquet", "."):
        assert not is_stencil(tmp_path / name)
    from placevec.sources.stencil.file import cell_rows
    from placevec.table.stored_places import PlacesSink

    with PlacesSink(tmp_path / "places.parquet") as sink:
        sink.write(cell_rows(H3Cells(4).cover(AREA), np.zeros(stencil.num_rows, bool), 4))
    assert not is_stencil(tmp_path / "places.parquet")
    assert StoredPlaces(tmp_path / "places.parquet").num_rows == stencil.num_rows
    with pytest.raises(FormatError, match="is no stencil"):
        open_stencil(tmp_path / "places.parquet")
    for text in ("{}", "[", '{"version": 2, "sources": []}'):
        with PlacesSink(tmp_path / "odd.parquet") as sink:
            sink.write(cell_rows(H3Cells(4).cover(AREA), np.zeros(stencil.num_rows, bool), 4))
            sink.footers["placevec-stencil"] = text
        with pytest.raises(FormatError, match="make .*again"):
            open_stencil(tmp_path / "odd.parquet")
    again = pickle.loads(pickle.dumps(stencil))
    assert isinstance(again, Stencil)
    assert again.card == stencil.card


def test_the_source_is_a_source_and_partitioned(stencil: Stencil) -> None:
    source = StencilSource(stencil)
    assert isinstance(source, Partitioned)
    assert isinstance(source, Source)
    check_source(source)
    whole = LonLatSource(stencil.places())
    rows = np.random.default_rng(0).permutation(source.num_rows)[:200]
    np.testing.assert_array_equal(source.read(rows).data["lonlat"], whole.read(rows).data["lonlat"])
    np.testing.assert_array_equal(source.read(rows).rows, rows)
    for part in source.parts():
        own = source.part(part.start, part.stop)
        assert own.places().data.equals(stencil.read(part.start, part.stop).data)
    with pytest.raises(SchemaError, match="does not exist"):
        source.read(np.array([source.num_rows]))


def test_a_limit_cuts_the_last_part(stencil: Stencil) -> None:
    limit = stencil.parts[1].start + 3
    source = StencilSource(stencil, limit=limit)
    assert source.num_rows == limit == len(source.places())
    assert [part.stop for part in source.parts()] == [stencil.parts[0].stop, limit]
    assert source.fingerprint() != StencilSource(stencil).fingerprint() == stencil.fingerprint()
    assert StencilSource(stencil, limit=10**9).num_rows == stencil.num_rows
    assert StencilSource(stencil, about="chips").fingerprint() == f"{stencil.fingerprint()} chips"


def test_chips_are_read_at_the_places_of_a_part(stencil: Stencil) -> None:
    from placevec.sources.chips import ChipSource
    from placevec.sources.rasters import Raster

    raster = Raster.from_array(np.arange(360 * 180, dtype=np.float32).reshape(180, 360), bounds=(-180, -90, 180, 90))
    source = StencilSource(stencil, lambda places: ChipSource(places, raster, 200_000.0, 4), limit=300)
    check_source(source)
    part = source.parts()[-1]
    assert source.template().data.schema == source.part(part.start, part.stop).places().data.schema
