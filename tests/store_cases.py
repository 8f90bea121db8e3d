"""Tables, filters and texts that are hard on a store, for the tests of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from hypothesis import strategies as st

from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places


def hard_table(
    n: int = 400, d: int = 6, *, seed: int = 0, dtype: str = "float32", h3: int | None = 5
) -> EmbeddingTable:
    """Both sides of the antimeridian and a pole, columns of every type with nulls and NaN, rows without geometry."""
    rng = np.random.default_rng(seed)
    lon = np.where(rng.random(n) < 0.5, rng.uniform(170, 180, n), rng.uniform(-180, -170, n))
    lat = rng.uniform(-30, 30, n)
    lon[:20], lat[:20] = rng.uniform(-180, 180, 20), rng.uniform(88, 90, 20)
    lon[20:24], lat[20:24] = [180.0, -180.0, 180.0, -180.0], [0.0, 0.0, 5.0, 5.0]
    geometry = np.asarray(shapely.points(lon, lat), dtype=object)
    missing = np.arange(n) % 17 == 3
    if h3 is None:
        geometry[missing] = None
    geometry[30] = shapely.box(175.0, 1.0, 176.0, 2.0)
    absent = rng.random(n) < 0.2

    def some(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array([None if gone else value for value, gone in zip(values, absent, strict=True)], kind)

    reals = rng.normal(size=n).round(2) + 0.0  # without -0, which Arrow's lists tell from 0
    reals[7::31] = np.nan
    words = rng.choice(["forest", "grass", "Ürban", "", "a'b", 'say "x"', "50%", "z\\n"], n).tolist()
    micros = rng.integers(0, 1 << 50, n)
    attributes = {
        "elevation": some(reals.tolist(), pa.float64()),
        "slope": some(reals.astype(np.float32).tolist(), pa.float32()),
        "half": some(reals.astype(np.float16).astype(np.float32).tolist(), pa.float32()).cast(pa.float16()),
        "cover": some(words, pa.string()),
        "kind": some(words, pa.string()).dictionary_encode(),
        "count": some(rng.integers(-50, 50, n).tolist(), pa.int64()),
        "small": some(rng.integers(-50, 50, n).tolist(), pa.int8()),
        "large": some(rng.integers(0, 1 << 63, n, dtype=np.uint64).tolist(), pa.uint64()),
        "flag": some((rng.random(n) < 0.5).tolist(), pa.bool_()),
        "day": some(rng.integers(-9000, 20000, n).tolist(), pa.int32()).cast(pa.date32()),
        "moment": some(micros.tolist(), pa.int64()).cast(pa.timestamp("us")),
        "blob": some([bytes([value % 256, 0, 7]) for value in range(n)], pa.binary()),
        "nothing": pa.nulls(n),
        "a; drop table x": some(list(range(n)), pa.int32()),
        'quo"ted': some(list(range(n)), pa.int16()),
        "100 %s": some(list(range(n)), pa.uint16()),
        "xmin": some(list(range(n)), pa.uint32()),
        "x" * 70: some(list(range(n)), pa.int32()),
        "_slot": some(list(range(n)), pa.int32()),
    }
    centre = shapely.centroid(np.where(np.equal(geometry, None), shapely.Point(0, 0), geometry))
    cells = None
    if h3 is not None:
        cells = H3Cells(h3).assign(LonLat(shapely.get_x(centre), shapely.get_y(centre)))
    places = Places.create(
        [f"row '{i}' \"{i}\" %" for i in range(n)],
        geometry=geometry,
        h3=cells,
        time_start=some(micros.tolist(), pa.int64()).cast(pa.timestamp("us", "UTC")),
        attributes=attributes,
    )
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    vectors[5::29] = vectors[5]
    vectors[50] = 0.0
    return EmbeddingTable.of(places, vectors, Space.mint(d), dtype=dtype, tower="image")


_SQUARE = shapely.Polygon([(176, -9), (184, -9), (184, 9), (176, 9)], [[(178, -3), (179, -3), (179, 3), (178, 3)]])
_CELLS = H3Cells(2).assign(LonLat(np.array([179.9, -179.0, 172.0]), np.array([0.0, 10.0, -20.0])))

FILTERS: dict[str, Filter] = {
    "box": Filter(bbox=(171.0, -10.0, 178.0, 10.0)),
    "box across the antimeridian": Filter(bbox=(178.0, -10.0, -177.0, 10.0)),
    "box to the antimeridian": Filter(bbox=(179.0, -10.0, 180.0, 10.0)),
    "box from the antimeridian": Filter(bbox=(-180.0, -10.0, -179.0, 10.0)),
    "box of the antimeridian alone": Filter(bbox=(180.0, -10.0, -180.0, 10.0)),
    "the world": Filter(bbox=(-180.0, -90.0, 180.0, 90.0)),
    "empty box": Filter(bbox=(0.0, 0.0, 1.0, 1.0)),
    "circle across the antimeridian": Filter(near=(179.5, 0.0, 400_000.0)),
    "circle at the pole": Filter(near=(30.0, 89.5, 150_000.0)),
    "half of the Earth": Filter(near=(180.0, 0.0, 10_010_000.0)),
    "all of the Earth": Filter(near=(180.0, 0.0, 21_000_000.0)),
    "polygon with a hole across the antimeridian": Filter(within=_SQUARE),
    "two polygons": Filter(within=shapely.MultiPolygon([shapely.box(171, -5, 174, 5), shapely.box(-175, 0, -171, 9)])),
    "cells": Filter(h3=_CELLS),
    "cells of two resolutions": Filter(
        h3=np.concatenate(
            [_CELLS[:1], H3Cells(3).parent(H3Cells(3).assign(LonLat(np.array([-172.0]), np.array([3.0]))), 3)]
        )
    ),
    "many cells": Filter(
        h3=np.unique(
            np.concatenate(
                [
                    H3Cells(3).neighbours(_CELLS[:0], 1).cells,
                    H3Cells(3).assign(LonLat(np.linspace(170, 190, 200), np.linspace(-30, 30, 200))),
                ]
            )
        )
    ),
    "cells finer than the column": Filter(
        h3=H3Cells(6).neighbours(H3Cells(6).assign(LonLat(np.array([180.0]), np.array([0.0]))), 20).cells
    ),
    "no cell": Filter(h3=np.empty(0, dtype=np.uint64)),
    "ids": Filter(ids=[f"row '{i}' \"{i}\" %" for i in (3, 5, 5, 399)] + ["not there"]),
    "no id": Filter(ids=[]),
    "attribute": Filter(where="elevation > 0.1 and cover in ('forest', 'Ürban')"),
    "everything": Filter(
        bbox=(170.0, -30.0, -170.0, 30.0),
        near=(180.0, 0.0, 1_500_000.0),
        within=_SQUARE,
        h3=_CELLS[:2],
        where="count > -40 or flag",
        ids=[f"row '{i}' \"{i}\" %" for i in range(0, 400, 2)],
    ),
}

WHERE = [
    "elevation > 0", "elevation < 0", "elevation >= 0.1", "elevation != 0.5", "not elevation > 0",
    "elevation == elevation", "elevation != elevation", "elevation is None", "elevation is not None",
    "not (elevation is None)", "0 < elevation <= 1", "slope > 0.1", "slope == 0.5", "slope in (0.1, 0.5, -0.25)",
    "slope not in (0.1,)", "elevation > slope", "elevation == slope", "count > 3.5", "count == 3",
    "count in (1, 2, 3)", "not count in (1, 2, 3)", "count not in (1, 2, 3)", "count in ()", "count not in ()",
    "small == count", "small < count", "large > 5", "cover == 'forest'", "cover > 'a'", "cover < 'Z'",
    "cover >= 'grass'", "cover in ('forest', '')", "cover == kind", "cover == \"a'b\"", "cover == '50%'", "flag",
    "not flag", "flag == True", "flag and elevation > 0 or count == 1", "time_start > '1980-01-01'",
    "time_start <= '1990-06-30T12:00:00+02:00'", "xmin > 10", "_slot < 100", "nothing is None", "1 < 2", "2 < 1",
    "'a' in ('a',)", "id > \"row '2\"", "cover == 'x; drop table places'",
]  # fmt: skip

BAD_WHERE = [
    "depth > 1",
    "half < 0.25",
    "count == 'x'",
    "cover > 1",
    "count",
    "flag > 1",
    "import os",
    "count.real > 1",
    "f(1)",
]

_columns = st.sampled_from(["elevation", "slope", "count", "small"])
_numbers = st.one_of(st.integers(-60, 60).map(str), st.floats(-2, 2, allow_nan=False).map(lambda x: repr(round(x, 2))))
_atoms = st.one_of(
    st.builds("{} {} {}".format, _columns, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _numbers | _columns),
    st.builds("{} {} ({}, {})".format, _columns, st.sampled_from(["in", "not in"]), st.integers(-50, 50), _numbers),
    st.builds("{} {} None".format, _columns, st.sampled_from(["is", "is not"])),
    st.sampled_from(["flag", "cover == 'grass'", "cover not in ('forest', '')", "flag == False"]),
)
wheres = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=6,
)
