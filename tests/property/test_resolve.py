"""What is kept ready of a table answers filters as the scan of all its rows does."""

from dataclasses import replace
from unittest import mock

import h3
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.index import resolve_blocks
from placevec.index.resolve import Resolver
from placevec.index.resolve_blocks import Blocks
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places

lon_of = st.one_of(st.integers(-12, 12).map(lambda v: v * 15.0), st.floats(-180, 180, width=32))
lat_of = st.one_of(st.integers(-6, 6).map(lambda v: v * 15.0), st.floats(-90, 90, width=32))
SPACE = Space.mint(2)


def table_of(lon: np.ndarray, lat: np.ndarray, size: np.ndarray, **columns: object) -> EmbeddingTable:
    """A table of points, without a geometry where a longitude is NaN."""
    geometry = np.array([None if np.isnan(x) else shapely.Point(x, y) for x, y in zip(lon, lat, strict=True)], object)
    places = Places.create([f"r{i}" for i in range(len(lon))], geometry=geometry, attributes={"size": size}, **columns)
    return EmbeddingTable.of(places, np.ones((len(lon), 2), np.float32), SPACE)


@st.composite
def tables(draw) -> EmbeddingTable:
    """Points on a coarse lattice, in a town, over the Earth, at the poles and on the antimeridian."""
    n = draw(st.integers(0, 700))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = rng.integers(0, 5, n)
    west, south = draw(lon_of), draw(lat_of)
    lon = np.choose(
        kind,
        [
            rng.integers(-12, 13, n) * 15.0,
            np.clip(west + rng.normal(0, 0.3, n), -180, 180),
            rng.uniform(-180, 180, n),
            rng.uniform(-180, 180, n),
            rng.choice([-180.0, 180.0], n),
        ],
    )
    lat = np.choose(
        kind,
        [
            rng.integers(-6, 7, n) * 15.0,
            np.clip(south + rng.normal(0, 0.3, n), -90, 90),
            np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
            rng.choice([-90.0, -89.99, 89.999, 90.0], n),
            rng.uniform(-90, 90, n),
        ],
    )
    lon[rng.random(n) < draw(st.sampled_from([0.0, 0.1, 1.0]))] = np.nan
    return table_of(lon, lat, rng.integers(0, 4, n))


@st.composite
def areas(draw) -> shapely.Geometry:
    west, south = draw(lon_of), max(-89.0, min(60.0, draw(lat_of)))
    wide, high = draw(st.sampled_from([0.2, 5.0, 40.0, 170.0])), draw(st.sampled_from([0.2, 8.0, 30.0]))
    shell = shapely.box(west, south, west + wide, min(90.0, south + high))
    kind = draw(st.sampled_from(["box", "hole", "triangle", "two", "disc"]))
    if kind == "hole":
        return shapely.difference(shell, shapely.buffer(shell.centroid, 0.3 * min(wide, high)))
    if kind == "triangle":
        return shapely.Polygon([(west, south), (west + wide, south), (west, south + high)])
    if kind == "two":
        return shapely.MultiPolygon([shell, shapely.box(-20.0, -10.0, -20.5, -9.0)]).buffer(0)
    return shapely.buffer(shell.centroid, 0.5 * high) if kind == "disc" else shell


@st.composite
def filters(draw) -> Filter:
    chosen = Filter()
    for kind in draw(st.lists(st.sampled_from(["bbox", "near", "within", "h3", "where", "ids"]), min_size=1)):
        if kind == "bbox":
            south, north = sorted((draw(lat_of), draw(lat_of)))
            chosen = replace(chosen, bbox=(draw(lon_of), south, draw(lon_of), north))
        elif kind == "near":
            metres = draw(st.sampled_from([0.0, 5.0, 2e4, 1.7e6, 9e6, 2.1e7]))
            chosen = replace(chosen, near=(draw(lon_of), draw(lat_of), metres))
        elif kind == "within":
            chosen = replace(chosen, within=draw(areas()))
        elif kind == "h3":
            point = draw(lat_of), draw(lon_of)
            cells = {h3.str_to_int(h3.latlng_to_cell(*point, r)) for r in draw(st.sets(st.integers(0, 5), max_size=3))}
            chosen = replace(chosen, h3=np.array(sorted(cells), dtype=np.uint64))
        elif kind == "where":
            chosen = replace(chosen, where=draw(st.sampled_from(["size > 1", "not size == 2", "size > 9"])))
        else:
            chosen = replace(chosen, ids=["r1", "r7", "r300", "absent", "r7"])
    return chosen


@given(tables(), st.lists(filters(), min_size=1, max_size=4))
@settings(max_examples=120, deadline=None)
def test_a_resolver_answers_as_the_mask_of_all_rows(table, chosen) -> None:
    resolver = Resolver(table)
    resolver.prepare()
    for one in [*chosen, chosen[0]]:
        rows, unlocated = resolver.resolve(one)
        wanted, left_out = table.resolve(one)
        assert rows.dtype == np.int64
        assert rows.tolist() == wanted.tolist()
        assert unlocated == left_out


@given(
    tables(),
    st.lists(st.tuples(lon_of, lat_of, lon_of, lat_of), max_size=12),
    st.lists(filters(), max_size=2),
    st.data(),
)
@settings(max_examples=80, deadline=None)
def test_many_boxes_together_are_as_each_alone(table, corners, others, data) -> None:
    chosen = [Filter(bbox=(west, min(a, b), east, max(a, b))) for west, a, east, b in corners]
    # Where tables are small all boxes are: the limits of what goes together are drawn as well.
    few, blocks, together = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 8), st.integers(1, 4)))
    chosen = data.draw(st.permutations([*chosen, *others]))
    resolver = Resolver(table)
    resolver.prepare()
    with (
        mock.patch.object(resolve_blocks, "_FEW_GROUPS", few),
        mock.patch.object(resolve_blocks, "_BLOCKS", blocks),
        mock.patch.object(resolve_blocks, "_TOGETHER", together),
    ):
        found = resolver.resolve_many(chosen)
    assert len(found) == len(chosen)
    for one, (rows, unlocated) in zip(chosen, found, strict=True):
        wanted, left_out = table.resolve(one)
        assert rows.dtype == np.int64
        assert rows.tolist() == wanted.tolist()
        assert unlocated == left_out


@given(st.integers(0, 10**6), st.floats(1.0, 2.0e7), lon_of, lat_of)
@settings(max_examples=60, deadline=None)
def test_points_on_the_rim_of_a_circle_are_decided_as_before(seed, metres, lon, lat) -> None:
    from placevec.geo.boxes import in_circle
    from placevec.geo.sphere import destination

    centre = LonLat.of(lon, lat)
    rng = np.random.default_rng(seed)
    away = metres * (1 + rng.choice([0.0, 1e-12, -1e-12, 1e-8, -1e-8, 1e-6, -1e-6, 1e-3, -1e-3], 400))
    points = destination(centre, rng.uniform(0, 360, 400), away)
    found = Blocks(points.lon, points.lat).in_circle(centre, metres)
    assert found.tolist() == np.flatnonzero(in_circle(points.lon, points.lat, centre, metres)).tolist()


@pytest.mark.parametrize("case", ["own cells", "coarser than asked", "mixed", "with gaps"])
def test_cells_come_from_the_column_where_it_says_them(case) -> None:
    rng = np.random.default_rng(2)
    lon, lat = rng.uniform(-10, 10, 500), rng.uniform(40, 50, 500)
    cells = H3Cells(3 if case == "coarser than asked" else 6).assign(LonLat(lon, lat))
    if case == "mixed":
        cells[::2] = H3Cells(6).parent(cells[::2], 5)
    column = pa.array(cells, mask=np.arange(500) % 7 == 0) if case == "with gaps" else cells
    table = table_of(lon, lat, np.arange(500), h3=column)
    resolver = Resolver(table)
    resolver.prepare()
    wanted = H3Cells(4).assign(LonLat(lon[:9], lat[:9]))
    chosen = Filter(h3=np.unique(wanted))
    assert resolver.resolve(chosen)[0].tolist() == table.resolve(chosen)[0].tolist()
