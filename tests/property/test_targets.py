"""What is summed is conserved, what is averaged stays between its ends, up, down and by area."""

from __future__ import annotations

import h3
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from placevec.errors import UsageError
from placevec.geo.cells import H3Cells
from placevec.sources.targets import area_weighted, at_level
from placevec.sources.targets.levels import children

LON, LAT = st.floats(-179.9, 179.9), st.floats(-70, 70)
VALUE = st.one_of(st.just(float("nan")), st.floats(0, 1e6))


@given(st.integers(3, 7), st.integers(0, 3), LON, LAT, st.data())
def test_sums_upwards_are_conserved_and_means_stay_within(
    coarse: int, steps: int, lon: float, lat: float, data: st.DataObject
) -> None:
    parent = np.uint64(h3.str_to_int(h3.latlng_to_cell(lat, lon, coarse)))
    cells = H3Cells(coarse).children(np.array([parent]), coarse + steps).cells
    cells = np.random.default_rng(0).permutation(cells)[: data.draw(st.integers(1, 40))]
    values = np.array(data.draw(st.lists(VALUE, min_size=len(cells), max_size=len(cells))))
    (total,) = at_level(cells, values, "sum", coarse, np.array([parent]))
    (mean,) = at_level(cells, values, "mean", coarse, np.array([parent]))
    if np.isnan(values).all():
        assert np.isnan(total)
        assert np.isnan(mean)
    else:
        assert np.isclose(total, np.nansum(values))
        assert np.nanmin(values) - 1e-6 <= mean <= np.nanmax(values) + 1e-6


@given(st.integers(2, 7), st.integers(1, 3), LON, LAT, st.integers(0, 9999), st.floats(0, 1e6))
def test_downwards_sums_are_split_and_means_copied(
    coarse: int, steps: int, lon: float, lat: float, seed: int, value: float
) -> None:
    parent = np.array([h3.str_to_int(h3.latlng_to_cell(lat, lon, coarse))], dtype=np.uint64)
    below = np.sort(H3Cells(coarse).children(parent, coarse + steps).cells)
    rng = np.random.default_rng(seed)
    wanted = np.sort(rng.permutation(below)[: rng.integers(1, len(below) + 1)])
    one = np.array([value])
    assert np.isclose(at_level(parent, one, "sum", coarse + steps, below).sum(), value)
    split = at_level(parent, one, "sum", coarse + steps, wanted)
    assert np.allclose(split, value / len(below))
    assert np.isclose(at_level(parent, one, "sum", coarse + steps, wanted, "area").sum(), value)
    assert (at_level(parent, one, "mean", coarse + steps, wanted) == value).all()


def test_children_are_counted_of_pentagons_too() -> None:
    for level in (0, 1, 3):
        cells = [*h3.get_pentagons(level), h3.latlng_to_cell(10.0, 10.0, level)]
        numbers = np.array([h3.str_to_int(cell) for cell in cells], dtype=np.uint64)
        for fine in range(level, level + 4):
            assert children(numbers, fine).tolist() == [h3.cell_to_children_size(cell, fine) for cell in cells]
    with pytest.raises(UsageError, match="are coarser"):
        children(numbers, 2)


def _grid(lon: float, lat: float, seed: int, n: int) -> np.ndarray:
    """A partition of a square into n x n cells with moved corners: polygons that share borders and no area."""
    rng = np.random.default_rng(seed)
    step = 0.02 / n
    x, y = np.meshgrid(np.arange(n + 1) * step, np.arange(n + 1) * step, indexing="ij")
    x[1:-1, 1:-1] += rng.uniform(-0.3, 0.3, (n - 1, n - 1)) * step
    y[1:-1, 1:-1] += rng.uniform(-0.3, 0.3, (n - 1, n - 1)) * step
    corners = np.stack([x + lon, y + lat], axis=-1)
    return np.array(
        [
            Polygon([corners[i, j], corners[i + 1, j], corners[i + 1, j + 1], corners[i, j + 1]])
            for i in range(n)
            for j in range(n)
        ],
        dtype=object,
    )


@settings(max_examples=20)
@given(st.floats(-179.9, 179.8), LAT, st.integers(0, 9999), st.integers(1, 5), st.sampled_from([7, 8]))
def test_by_area_sums_are_conserved_and_means_stay_within(lon: float, lat: float, seed: int, n: int, r: int) -> None:
    polygons = _grid(lon, lat, seed, n)
    cells = H3Cells(r).cover(shapely.union_all(polygons))
    values = np.random.default_rng(seed).uniform(0, 100, len(polygons))
    columns = {"n": values, "v": values, "c": np.full(len(values), 5.0)}
    found, covered = area_weighted(cells, r, polygons, columns, {"n": "sum", "v": "mean", "c": "mean"})
    assert np.isclose(np.nansum(found["n"]), values.sum(), rtol=1e-6)
    assert np.nanmin(found["v"]) >= values.min() - 1e-9
    assert np.nanmax(found["v"]) <= values.max() + 1e-9
    known = ~np.isnan(found["c"])
    assert np.allclose(found["c"][known], 5.0)
    assert (covered <= 1.0 + 1e-6).all()


def test_by_area_against_a_plain_loop() -> None:
    polygons = _grid(4.3, 52.0, 1, 5)
    cells = H3Cells(9).cover(shapely.union_all(polygons))
    values = np.arange(25, dtype=float)
    values[3] = np.nan
    found, covered = area_weighted(cells, 9, polygons, {"s": values, "m": values}, {"s": "sum", "m": "mean"})

    def flat(geometry: Polygon) -> Polygon:
        return shapely.transform(
            geometry, lambda xy: np.column_stack([xy[:, 0], np.degrees(np.sin(np.radians(xy[:, 1])))])
        )

    for row, outline in enumerate(H3Cells(9).polygons(cells)):
        hexagon, total, weight, mean, share = flat(outline), 0.0, 0.0, 0.0, 0.0
        for value, polygon in zip(values, polygons, strict=True):
            area = hexagon.intersection(flat(polygon)).area
            share += area / hexagon.area
            if area > 0 and not np.isnan(value):
                total += value * area / flat(polygon).area
                mean += value * area
                weight += area
        assert np.isclose(covered[row], share, atol=1e-6)
        if weight > 1e-15:
            assert np.isclose(found["s"][row], total, rtol=1e-4, atol=1e-9)
            assert np.isclose(found["m"][row], mean / weight, rtol=1e-4)
