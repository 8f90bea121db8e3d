"""Promises of search that hold for every table, filter and way of cutting it up."""

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from placevec.geo.sphere import LonLat, distance_m
from placevec.index import exact, exact_each
from placevec.index.exact import ExactIndex
from placevec.index.planner import Planner
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places, open_table, write_table
from placevec.testing import brute_force

# Coarse coordinates and components: equal places, points on borders and equal scores come up often.
longitudes = st.integers(-12, 12).map(lambda v: v * 15.0)
latitudes = st.integers(-6, 6).map(lambda v: v * 15.0)
points = st.one_of(st.none(), st.tuples(longitudes, latitudes))


@st.composite
def tables(draw, metrics=("cosine", "dot", "l2")) -> EmbeddingTable:
    n = draw(st.integers(1, 60))
    d = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    if draw(st.booleans()):
        vectors = rng.integers(-2, 3, (n, d)).astype(np.float32)
    else:
        vectors = rng.standard_normal((n, d)).astype(np.float32)
    where = draw(st.lists(points, min_size=n, max_size=n))
    geometry = np.array([None if p is None else shapely.Point(p) for p in where], dtype=object)
    places = Places.create([f"r{i}" for i in range(n)], geometry=geometry, attributes={"size": rng.integers(0, 4, n)})
    space = Space.mint(d, metric=draw(st.sampled_from(metrics)))
    return EmbeddingTable.of(places, vectors, space, dtype=draw(st.sampled_from(["float32", "float16", "int8"])))


@st.composite
def filters(draw) -> Filter:
    kind = draw(st.sampled_from(["bbox", "within", "near", "where", "both"]))
    south, north = sorted((draw(latitudes), draw(latitudes)))
    west, east = draw(longitudes), draw(longitudes)
    if kind == "bbox":
        return Filter(bbox=(west, south, east, north))
    if kind == "both":
        return Filter(bbox=(west, south, east, north), where="size >= 2")
    if kind == "near":
        return Filter(near=(west, south, draw(st.sampled_from([0.0, 1e5, 1.7e6, 9e6]))))
    if kind == "where":
        return Filter(where=draw(st.sampled_from(["size > 1", "size in (0, 3)", "not size == 2", "size > 9"])))
    # From 170 to 190 degrees and the like: over the antimeridian.
    return Filter(within=shapely.box(west, max(south - 1e-9, -90.0), west + 30.0, min(north + 7.0, 90.0)))


def query_of(table: EmbeddingTable, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(table.dims).astype(np.float32)


def in_filter(table: EmbeddingTable, row: int, chosen: Filter) -> bool:
    """Whether a row passes, by the plain meaning of each condition."""
    size = int(table.column("size")[row])
    if chosen.where is not None:
        rules = {"size > 1": size > 1, "size in (0, 3)": size in (0, 3), "not size == 2": size != 2, "size > 9": False}
        if not {**rules, "size >= 2": size >= 2}[chosen.where]:
            return False
    if not chosen.geographic:
        return True
    if not table.located[row]:
        return False
    lon, lat = table.lon[row], table.lat[row]
    turns = (lon - 360, lon, lon + 360)
    if chosen.bbox is not None:
        west, south, east, north = chosen.bbox
        east = east if west <= east else east + 360
        return south <= lat <= north and any(west <= x <= east for x in turns)
    if chosen.near is not None:
        centre = LonLat.of(*chosen.near[:2])
        return bool(distance_m(LonLat.of(lon, lat), centre)[0] <= chosen.near[2])
    return any(shapely.intersects_xy(chosen.within, x, lat) for x in turns)


@given(tables(), filters(), st.integers(1, 70), st.integers(0, 99))
@settings(max_examples=150)
def test_filter_then_search_is_search_all_then_filter(table, chosen, k, seed) -> None:
    query = query_of(table, seed)
    planner = Planner(table)
    filtered = planner.search(query, k, filter=chosen)
    everything = planner.search(query, len(table))
    passing = [row for row in everything.rows.tolist() if in_filter(table, row, chosen)]
    assert filtered.rows.tolist() == passing[:k]
    assert filtered.plan.candidates == len(passing)
    wanted = everything.scores[np.isin(everything.rows, passing[:k])]
    assert np.array_equal(filtered.scores, wanted)
    if chosen.geographic:
        assert filtered.plan.unlocated == int((~table.located).sum())
    if len(passing) < k:
        assert filtered.plan.note


@given(tables(), st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
@settings(max_examples=100)
def test_the_size_of_batches_does_not_matter(table, k, batch_rows, seed) -> None:
    queries = np.stack([query_of(table, seed), query_of(table, seed + 1)])
    whole = ExactIndex(table).search(queries, k)
    parts = ExactIndex(table, batch_rows=batch_rows).search(queries, k)
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1], equal_nan=True)


@given(tables(), st.integers(1, 70), st.integers(0, 99))
@settings(max_examples=100)
def test_the_answer_is_that_of_brute_force_ties_by_row(table, k, seed) -> None:
    query = query_of(table, seed)
    rows, scores = ExactIndex(table).search(query[None], k)
    truth = brute_force(table, query[None])[0]
    reach = min(k, len(table))
    assert np.allclose(scores[0, :reach], np.sort(truth)[::-1][:reach], rtol=1e-5, atol=1e-6)
    assert np.allclose(truth[rows[0, :reach]], scores[0, :reach], rtol=1e-5, atol=1e-6)
    order = np.lexsort((rows[0, :reach], -scores[0, :reach]))
    assert np.array_equal(order, np.arange(reach))


@given(tables(), filters(), st.sampled_from(["parquet", "lance"]), st.integers(0, 99))
def test_a_stored_table_answers_like_one_in_memory(table, chosen, form, seed) -> None:
    query = query_of(table, seed)
    wanted = Planner(table).search(query, 7, filter=chosen)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{form}"
        write_table(table, path, order="keep")
        found = Planner(open_table(path)).search(query, 7, filter=chosen)
    assert found.rows.tolist() == wanted.rows.tolist()
    assert np.array_equal(found.scores, wanted.scores)
    assert found.ids.tolist() == wanted.ids.tolist()
    assert found.plan.candidates == wanted.plan.candidates
    assert found.plan.unlocated == wanted.plan.unlocated


@given(tables(), st.data())
def test_an_excluded_row_is_as_if_it_were_not_there(table, data) -> None:
    query = query_of(table, 0)
    away = data.draw(st.lists(st.integers(0, len(table) - 1), unique=True))
    hits = Planner(table).search(query, 9, exclude=away)
    rest = np.setdiff1d(np.arange(len(table)), away)
    rows, scores = ExactIndex(table).search(query[None], 9, rest)
    assert hits.rows.tolist() == rows[0][rows[0] >= 0].tolist()
    assert np.array_equal(hits.scores, scores[0][rows[0] >= 0])


@given(
    tables(),
    st.lists(filters(), min_size=2, max_size=5),
    st.integers(1, 20),
    st.sampled_from([4, 40, 10**6]),
    st.integers(0, 99),
)
@settings(max_examples=60)
def test_a_filter_for_each_query_is_as_each_query_alone(table, chosen, k, few, seed) -> None:
    queries = np.stack([query_of(table, seed + at) for at in range(len(chosen))])
    planner = Planner(table)
    planner.prepare()
    with mock.patch.object(exact_each, "_PAGED_NUMBERS", 3), mock.patch.object(exact, "FEW_NUMBERS", few):
        together = planner.search_many(queries, k, filter=chosen)
        again = planner.search_many(queries, k, filter=chosen)  # now that the facts of all rows are known
    for query, one, first, second in zip(queries, chosen, together, again, strict=True):
        alone = Planner(table).search(query, k, filter=one)
        for hits in (first, second):
            assert hits.rows.tolist() == alone.rows.tolist()
            assert np.array_equal(hits.scores, alone.scores)
