"""Keys of points: numbers for H3 cells, UUIDs for all else, one for each id."""

import uuid

import h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError, SchemaError
from placevec.geo.sphere import LonLat
from placevec.index.stores import RowsByKey, point_ids
from placevec.index.stores.keys import key_numbers, keys_of_ids
from placevec.table import Places, open_table, write_table
from placevec.testing.index import sample_table

_CELLS = st.builds(
    lambda lat, lon, resolution: h3.latlng_to_cell(lat, lon, resolution),
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.integers(0, 15),
)
_IDS = st.lists(_CELLS | st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, max_size=20)


@given(_IDS)
def test_a_key_for_each_id(ids: list[str]) -> None:
    keys = keys_of_ids(ids)
    for name, key in zip(ids, keys, strict=True):
        if h3.is_valid_cell(name) and name == name.lower():
            assert key == int(name, 16)
        else:
            assert uuid.UUID(str(key)).version == 5
    assert len(set(keys)) == len(ids)
    assert len(np.unique(key_numbers(keys))) == len(ids)
    assert RowsByKey(keys).rows(keys[::-1]).tolist() == list(range(len(ids)))[::-1]


def test_only_one_spelling_of_a_cell_is_a_cell() -> None:
    cell = "8928308280fffff"
    keys = keys_of_ids([cell, cell.upper(), "0x" + cell, "0" + cell, "8928308280ffff"])
    assert keys[0] == 0x8928308280FFFFF
    assert all(isinstance(key, str) for key in keys[1:])
    assert len(set(keys)) == 5


def test_the_keys_of_a_name_never_change() -> None:
    # Stores that exist are found by them.
    assert keys_of_ids(["row-001"]) == [str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "placevec:id"), "row-001"))]


def test_the_keys_of_a_stored_table(tmp_path) -> None:
    table = sample_table(40)
    write_table(table, tmp_path / "t.parquet", order="keep")
    assert point_ids(open_table(tmp_path / "t.parquet")) == point_ids(table)


def test_ids_that_repeat() -> None:
    places = Places.create(["a", "b"], lonlat=LonLat(np.zeros(2), np.zeros(2)))
    twice = Places(places.data.take([0, 0]))
    with pytest.raises(SchemaError, match="repeat"):
        point_ids(twice)
    with pytest.raises(DataError, match="one key"):
        RowsByKey([5, 5])


def test_rows_of_keys_that_are_not_there() -> None:
    assert RowsByKey([]).rows([7]).tolist() == [-1]
    assert RowsByKey([9, 3]).rows([3, 7, 9]).tolist() == [1, -1, 0]
