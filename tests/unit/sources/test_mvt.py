"""Vector tiles against a slow reader of the specification."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from mvt_reader import area, packed, read_tile
from placevec.sources.mvt import EXTENT, Features, encode_tile, fields_of, mercator, tiles_of, varints


def made(*shapes: object, **columns: object) -> Features:
    return Features(np.array(shapes, dtype=object), {name: np.asarray(one) for name, one in columns.items()})


@given(st.lists(st.lists(st.integers(0, 2**35 - 1), max_size=6), max_size=8))
def test_numbers_come_back(runs: list[list[int]]) -> None:
    numbers = np.array([number for run in runs for number in run], dtype=np.int64)
    lengths = np.array([len(run) for run in runs], dtype=np.int64)
    assert [packed(one) for one in varints(numbers, lengths)] == runs


@given(
    st.lists(
        st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.001, 0.6), st.integers(3, 9), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_polygons_come_back_to_a_unit_cut_at_the_margin(
    given_shapes: list[tuple[float, float, float, int, bool]],
) -> None:
    shapes = []
    for x, y, radius, corners, hole in given_shapes:
        turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        ring = np.column_stack([x + radius * np.cos(turn), y + radius * np.sin(turn)])
        shapes.append(shapely.Polygon(ring, [(ring - [x, y]) / 2 + [x, y]] if hole else None))
    zoom, column, row = 1, 1, 0
    content = encode_tile(made(*shapes, number=np.arange(len(shapes))), (zoom, column, row), "cells")
    square = shapely.box(-64, -64, EXTENT + 64, EXTENT + 64)
    units = [
        shapely.transform(shape, lambda xy: xy * 2 * EXTENT - np.array([column, row]) * EXTENT).intersection(square)
        for shape in shapes
    ]
    found = {} if not content else {p["number"]: rings for _, rings, p in read_tile(content)["features"]}
    for number, shape in enumerate(units):
        if shape.area > 40_000:
            assert number in found
        if number not in found:
            continue
        # Shells have a positive area, holes a negative one, and the sum is that of the shape, to a unit along edges.
        areas = [area(ring) / 2 for ring in found[number]]
        assert areas[0] > 0
        assert sum(areas) == pytest.approx(shape.area, abs=2 + shape.length)
        flat = np.array([point for ring in found[number] for point in ring])
        assert (flat >= -64).all()
        assert (flat <= EXTENT + 64).all()
        assert all(len(ring) == len(set(ring)) for ring in found[number])


def test_attributes_of_all_kinds_come_back_and_what_is_absent_is_left_out() -> None:
    shapes = [shapely.Point(0.1 * k, 0.5) for k in range(1, 5)]
    features = made(
        *shapes,
        share=np.array([0.5, np.nan, 0.1, 1e300]),
        count=np.array([-3, 2**40, 0, 7]),
        open=np.array([True, False, True, True]),
        name=np.array(["a", None, "ü", "a"], dtype=object),
    )
    tile = read_tile(encode_tile(features, (0, 0, 0), "places"))
    assert (tile["name"], tile["extent"], tile["version"]) == ("places", 4096, 2)
    kinds, rings, properties = zip(*tile["features"], strict=True)
    assert set(kinds) == {1}
    assert [ring[0][0] for ring in rings] == [(410, 2048), (819, 2048), (1229, 2048), (1638, 2048)]
    assert properties == (
        {"share": 0.5, "count": -3, "open": True, "name": "a"},
        {"count": 2**40, "open": False},
        {"share": 0.1, "count": 0, "open": True, "name": "ü"},
        {"share": 1e300, "count": 7, "open": True, "name": "a"},
    )
    assert fields_of(features.columns) == {"share": "Number", "count": "Number", "open": "Boolean", "name": "String"}


def test_what_is_too_small_or_elsewhere_is_left_out() -> None:
    dot = shapely.Point(0.3, 0.3).buffer(1e-6)
    far = shapely.box(0.8, 0.8, 0.9, 0.9)
    assert encode_tile(made(dot, far), (2, 1, 1), "x") == b""
    assert encode_tile(made(shapely.Point(0.9, 0.9)), (1, 0, 0), "x") == b""
    touching = shapely.box(0.25 + 64 / 4096 / 4, 0, 0.4, 0.2)  # an edge on the margin of the tile
    assert encode_tile(made(touching), (2, 0, 0), "x") == b""


def test_the_map_ends_at_85_degrees_and_tiles_touch_their_margin() -> None:
    corners = mercator(np.array([[-180.0, 90.0], [0.0, 0.0], [180.0, -85.051128779806604]]))
    assert corners == pytest.approx(np.array([[0, 0], [0.5, 0.5], [1, 1]]))
    boxes = np.array([[0.1, 0.1, 0.2, 0.2], [0.2, 0.2, 0.3, 0.2], [0.251, 0.6, 0.252, 0.6], [0.99, 0.99, 1.0, 1.0]])
    found = list(zip(*(one.tolist() for one in tiles_of(boxes, 2)), strict=True))
    # Slow: every tile with its margin against every box.
    margin, expected = 64 / 4096 / 4, []
    for number, (west, north, east, south) in enumerate(boxes):
        for row in range(4):
            for column in range(4):
                x, y = column / 4, row / 4
                if (
                    west < x + 0.25 + margin
                    and east >= x - margin
                    and north < y + 0.25 + margin
                    and south >= y - margin
                ):
                    expected.append((number, column, row))
    assert sorted(found) == sorted(expected)
