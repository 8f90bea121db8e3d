"""Filters asked of Qdrant find what `Filter.mask` lets through, nothing less and nothing more."""

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from qdrant_client import models
from shapely.geometry import MultiPolygon, Polygon

from placevec.errors import UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.index.stores.qdrant import QdrantStore
from placevec.index.stores.qdrant.conditions import pushed
from placevec.index.stores.qdrant.layout import attribute_schema
from placevec.table import EmbeddingTable, Filter
from qdrant_tables import hard_table, in_memory, on_edge

TABLE = hard_table()


@pytest.fixture(scope="module", params=["memory", "edge"])
def store(request, tmp_path_factory) -> QdrantStore:
    made = in_memory() if request.param == "memory" else on_edge(tmp_path_factory.mktemp("edge"))
    made.load(TABLE)
    return made


def agrees(store: QdrantStore, filter: Filter, table: EmbeddingTable = TABLE) -> None:
    """All rows are asked for, so that one that is lost or too many is seen."""
    truth = set(table.ids[filter.mask(table)].tolist())
    hits = store.search(np.ones(table.dims, dtype=np.float32), len(table), filter)
    assert set(hits.ids.tolist()) == truth
    assert len(hits) == len(truth)
    if len(truth) > 4:
        few = store.search(np.ones(table.dims, dtype=np.float32), 3, filter)
        assert few.ids.tolist() == hits.ids[:3].tolist()


_CELLS = H3Cells(1).assign(LonLat(np.array([0.0, 179.0, 57.0]), np.array([0.0, 2.0, 88.0])))
REGIONS = {
    "a box": Filter(bbox=(-5, -5, 5, 5)),
    "a box of one point": Filter(bbox=(-5, 5, -5, 5)),
    "a box across the antimeridian": Filter(bbox=(175, -5, -174, 5)),
    "a box that ends at the antimeridian": Filter(bbox=(170, -5, 180, 5)),
    "a box that begins at the antimeridian": Filter(bbox=(-180, -5, -175, 5)),
    "the antimeridian": Filter(bbox=(180, -90, -180, 90)),
    "the world": Filter(bbox=(-180, -90, 180, 90)),
    "the north": Filter(bbox=(-180, 60, 180, 90)),
    "the south of the west": Filter(bbox=(-180, -90, 0, -30)),
    "a circle": Filter(near=(0, 0, 600_000)),
    "a circle of no radius": Filter(near=(-5, 5, 0)),
    "a circle across the antimeridian": Filter(near=(179.5, 1, 700_000)),
    "a circle around a pole": Filter(near=(12, 89.5, 900_000)),
    "a circle around the Earth": Filter(near=(12, 40, 30_000_000)),
    "a polygon": Filter(within=Polygon([(-5, -5), (5, -5), (5, 5), (-5, 5)])),
    "a polygon with a hole": Filter(
        within=Polygon([(-6, -6), (6, -6), (6, 6), (-6, 6)], [[(-2, -2), (2, -2), (2, 2), (-2, 2)]])
    ),
    "a polygon across the antimeridian": Filter(within=Polygon([(175, -5), (185, -5), (185, 5), (175, 5)])),
    "one with a hole on it": Filter(
        within=Polygon([(174, -6), (186, -6), (186, 6), (174, 6)], [[(178, -2), (182, -2), (182, 2), (178, 2)]])
    ),
    "a polygon that ends there": Filter(within=Polygon([(174, -5), (180, -5), (180, 5), (174, 5)])),
    "several polygons": Filter(
        within=MultiPolygon([shapely.box(-6, -6, -1, -1), shapely.box(1, 1, 6, 6), shapely.box(-180, -4, -176, 4)])
    ),
    "cells": Filter(h3=_CELLS),
    "cells of two resolutions": Filter(h3=np.concatenate([_CELLS[:1], H3Cells(1).children(_CELLS[1:2], 3).cells])),
    "many cells": Filter(h3=H3Cells(4).cover(shapely.box(-6, -6, 6, 6))),
    "no cells": Filter(h3=np.empty(0, dtype=np.uint64)),
    "ids": Filter(ids=["row 001", "row 004", "no such row"]),
    "no ids": Filter(ids=[]),
    "all at once": Filter(
        bbox=(-6, -6, 6, 6), near=(0, 0, 500_000), within=shapely.box(-3, -6, 6, 6), where="cover != 'city'"
    ),
}


@pytest.mark.parametrize("name", REGIONS)
def test_regions(store: QdrantStore, name: str) -> None:
    agrees(store, REGIONS[name])


_CONSTANTS = {
    "elevation": ["-1.5", "0", "0.1", "5", "2.5", "1152921504606846976.0"],
    "rough": ["0.1", "0.5", "2", "1.9"],
    "count": ["-3", "0", "1", "2.0", "0.5"],
    "big": ["36028797018963969"],
}
_SIGNS = ["<", "<=", ">", ">=", "==", "!="]


def _comparisons() -> st.SearchStrategy[str]:
    numeric = st.sampled_from(list(_CONSTANTS)).flatmap(
        lambda name: st.builds(
            lambda sign, value, turned: f"{value} {sign} {name}" if turned else f"{name} {sign} {value}",
            st.sampled_from(_SIGNS),
            st.sampled_from(_CONSTANTS[name]),
            st.booleans(),
        )
    )
    words = ["cover == 'forest'", "cover != 'forest'", "'grass' == cover", "cover < 'forest'", "id == 'row 003'"]
    lists = ["cover in ('forest', 'city')", "cover not in ('forest', 'city')", "count in (0, 1)", "count not in (-3,)"]
    lists += ["elevation in (0.1, 5.0)", "elevation not in (0.1, 5.0)", "rough in (2.0,)"]
    nulls = [f"{name} is{no} None" for name in ("elevation", "cover", "wet", "time_start") for no in ("", " not")]
    times = [f"time_start {sign} '2020-01-02'" for sign in _SIGNS] + ["'2020-01-02T12:00:00+01:00' < time_start"]
    others = ["wet", "wet == True", "wet != False", "elevation > count", "0 < elevation <= 5", "-2 < count < rough"]
    return numeric | st.sampled_from([*words, *lists, *nulls, *times, *others])


_WHERE = st.recursive(
    _comparisons(),
    lambda part: st.one_of(
        st.builds(lambda a: f"not ({a})", part),
        st.builds(lambda a, word, b: f"({a}) {word} ({b})", part, st.sampled_from(["and", "or"]), part),
    ),
    max_leaves=5,
)


@given(_WHERE)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("not (cover in ('forest', 'city'))")
@example("not (cover not in ('forest', 'city'))")
@example("not (elevation > 0.1)")
@example("elevation > 5")
@example("big > 36028797018963968")
def test_attributes(store: QdrantStore, where: str) -> None:
    agrees(store, Filter(where=where))


def test_what_the_server_cannot_decide_is_said(store: QdrantStore) -> None:
    hits = store.search(np.ones(TABLE.dims), 3, Filter(where="elevation > count and cover == 'grass'"))
    assert len(hits) == 3
    assert "the server cannot decide elevation > count" in hits.plan.note
    assert "cover" not in hits.plan.note


def test_all_that_can_be_decided_is_left_to_the_server() -> None:
    schema = attribute_schema(TABLE.data.schema)
    decided = ["elevation > 0.1", "not (cover in ('a', 'b')) or wet", "time_start >= '2020-01-02'", "count is None"]
    for where in decided:
        push = pushed(Filter(where=where), schema)
        assert push.left == (), where
        assert push.filter is not None
    one_side = pushed(Filter(where="elevation > count or wet"), schema)
    assert one_side.filter is None  # the other side of an `or` alone would lose rows
    assert one_side.left == ("elevation > count",)


def test_a_box_across_the_antimeridian_goes_to_the_server_as_one() -> None:
    push = pushed(Filter(bbox=(175, -5, -174, 5)), attribute_schema(TABLE.data.schema))
    (condition,) = push.filter.must
    assert condition.key == "location"
    box = condition.geo_bounding_box
    assert box.top_left.lon == pytest.approx(175, abs=1e-5)
    assert box.bottom_right.lon == pytest.approx(-174, abs=1e-5)
    assert isinstance(push.filter, models.Filter)


@pytest.mark.parametrize("where", ["height > 3", "cover > 3", "cover == wet"])
def test_a_column_that_is_not_there_or_of_another_kind(store: QdrantStore, where: str) -> None:
    with pytest.raises(UsageError, match="height|does not fit"):
        store.search(np.ones(TABLE.dims), 3, Filter(where=where))


def test_rows_without_a_place_are_counted(store: QdrantStore) -> None:
    hits = store.search(np.ones(TABLE.dims), 3, Filter(bbox=(-5, -5, 5, 5)))
    assert hits.plan.unlocated == int((~TABLE.located).sum())
    assert hits.plan.total == len(TABLE)
    assert hits.plan.exact
