"""Promises of the table that hold for every table."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places, open_table, read_table, write_table
from placevec.table.fingerprint import Fingerprint, fingerprint

coordinates = st.tuples(st.floats(-180, 179.999), st.floats(-90, 90))
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)


@st.composite
def tables(draw) -> EmbeddingTable:
    n = draw(st.integers(1, 25))
    d = draw(st.integers(1, 9))
    dtype = draw(st.sampled_from(["float32", "float16", "int8"]))
    wide = draw(hnp.arrays(np.float32, (n, d), elements=st.floats(-1000, 1000, width=16)))
    points = draw(st.lists(st.one_of(st.none(), coordinates), min_size=n, max_size=n))
    geometry = np.array([None if p is None else shapely.Point(p) for p in points], dtype=object)
    ids = draw(st.lists(text.filter(bool), min_size=n, max_size=n, unique=True))
    attributes = {
        "name": np.array(draw(st.lists(st.one_of(st.none(), text), min_size=n, max_size=n)), dtype=object),
        "size": np.array(draw(st.lists(st.integers(-(2**40), 2**40), min_size=n, max_size=n))),
        "yes": np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))),
    }
    attributes["name"] = pa.array(attributes["name"], pa.string())
    places = Places.create(ids, geometry=geometry, attributes=attributes)
    return EmbeddingTable.of(places, wide, Space.mint(d), dtype=dtype)


@given(tables(), st.sampled_from(["parquet", "lance"]))
def test_what_is_written_is_what_is_read(table: EmbeddingTable, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{form}"
        write_table(table, path)
        back = read_table(path)
        assert back.fingerprint() == table.fingerprint()
        assert sorted(back.ids) == sorted(table.ids)
        assert np.array_equal(back.take(back.rows_of(table.ids)).raw, table.raw)
        assert back.meta == table.meta


@given(tables(), st.randoms(use_true_random=False))
def test_the_fingerprint_knows_no_order_and_no_borders(table: EmbeddingTable, random) -> None:
    rows = list(range(len(table)))
    random.shuffle(rows)
    cut = random.randint(0, len(rows))
    shuffled = table.take(rows)
    names = list(shuffled.data.schema.names)
    random.shuffle(names)
    pieces = [shuffled.data.select(names).slice(0, cut), shuffled.data.slice(cut)]
    assert fingerprint(pieces) == table.fingerprint()
    parts = [Fingerprint().update(piece) for piece in pieces]
    assert str(parts[1].merge(parts[0])) == table.fingerprint()


@given(tables(), st.data())
def test_the_fingerprint_sees_every_change(table: EmbeddingTable, data) -> None:
    row = data.draw(st.integers(0, len(table) - 1))
    column = data.draw(st.integers(0, table.dims - 1))
    raw = table.raw.copy()
    before = raw[row, column]
    raw.view(np.uint8 if raw.itemsize == 1 else f"u{raw.itemsize}")[row, column] ^= 1
    assert raw[row, column].tobytes() != before.tobytes()
    changed = EmbeddingTable(table.data, table.meta)
    from placevec.table.embeddings import to_arrow

    at = table.data.schema.get_field_index("embedding")
    changed = EmbeddingTable(table.data.set_column(at, "embedding", to_arrow(raw)), table.meta)
    assert changed.fingerprint() != table.fingerprint()
    sizes = table.column("size").copy()
    sizes[row] += 1
    assert table.with_column("size", sizes).fingerprint() != table.fingerprint()
    assert table.take(np.delete(np.arange(len(table)), row)).fingerprint() != table.fingerprint()
    if table.dims > 1 and table.raw[row, 0].tobytes() != table.raw[row, 1].tobytes():
        swapped = table.raw.copy()
        swapped[row, [0, 1]] = swapped[row, [1, 0]]
        other = EmbeddingTable(table.data.set_column(at, "embedding", to_arrow(swapped)), table.meta)
        assert other.fingerprint() != table.fingerprint()


@given(
    tables(), st.tuples(st.floats(-180, 180), st.floats(-180, 180)), st.tuples(st.floats(-90, 90), st.floats(-90, 90))
)
def test_a_box_selects_the_same_in_memory_and_in_a_file(table: EmbeddingTable, lons, lats) -> None:
    box = (lons[0], min(lats), lons[1], max(lats))
    chosen = Filter(bbox=box)
    lon, lat = table.lon, table.lat
    inside = (lon >= box[0]) & (lon <= box[2]) if box[0] <= box[2] else (lon >= box[0]) | (lon <= box[2])
    # The meridian of 180 degrees has two names.
    if box[2] == 180 or box[0] == 180:
        inside |= lon == -180
    expected = set(table.ids[inside & (lat >= box[1]) & (lat <= box[3])])
    assert set(table.select(chosen).ids) == expected
    with tempfile.TemporaryDirectory() as folder:
        write_table(table, Path(folder) / "t.parquet")
        assert set(open_table(Path(folder) / "t.parquet").read(chosen).ids) == expected
