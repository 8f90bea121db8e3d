"""Class tables: official codes, codes to indices and back, files of one's own, codes that are not known."""

import json

import numpy as np
import pytest

from placevec.errors import DataError, FormatError, UsageError
from placevec.sources.classes import TABLES, UNKNOWN, ClassTable, class_table
from placevec.sources.tag_captions.cover import LEGENDS

OWN = ClassTable("own", (3, 7), ("rice", "village"), ("#00ff00", "#ff0000"), ((8, 7),), (0,))


def test_the_tables_have_the_classes_of_their_legends():
    assert {name: len(table) for name, table in TABLES.items()} == {
        "nlcd": 20, "worldcover": 11, "lc100": 22, "corine": 44,
    }  # fmt: skip
    lc100 = TABLES["lc100"]
    forests = [code for code in lc100.codes if 111 <= code <= 126]
    assert forests == [111, 112, 113, 114, 115, 116, 121, 122, 123, 124, 125, 126]
    assert list(lc100.codes) == sorted(lc100.codes)
    # One after the other in the order of their codes, without gaps: 116 comes before 121.
    assert [lc100.indices[code] for code in forests] == list(range(10, 22))
    assert TABLES["corine"].codes[0] == 111
    assert TABLES["corine"].codes[-1] == 523


@pytest.mark.parametrize("name", list(TABLES))
def test_codes_become_indices(name):
    table = class_table(name)
    assert table.index(np.array(table.codes)).tolist() == list(range(1, len(table) + 1))
    assert not table.index(np.array(table.nothing)).any()
    assert ClassTable.from_json(json.loads(json.dumps(table.to_json()))) == table


def test_corine_reads_grid_codes_as_well():
    table = class_table("CORINE")
    assert table.index(np.array([1, 44, 12])).tolist() == table.index(np.array([111, 523, 211])).tolist()
    assert table.index(np.array([48, 255, 999], dtype=np.int16)).tolist() == [0, 0, 0]
    assert table.index(np.array([-128, 1], dtype=np.int8)).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64", "float32", "float64"])
def test_every_number_type_is_read_alike(dtype):
    values = np.array([[3, 7, 8], [0, 3, 7]], dtype=dtype)
    found = OWN.index(values)
    assert found.dtype == np.uint8
    assert found.tolist() == [[1, 2, 2], [0, 1, 2]]
    with pytest.raises(DataError, match="map.tif holds the class code 9, which the class table 'own'.*unknown"):
        OWN.index(np.array([3, 9], dtype=dtype), "map.tif")
    assert OWN.marks(np.array([3, 9], dtype=dtype)).tolist() == [1, UNKNOWN]
    assert OWN.marks(np.array([3, 9], dtype=dtype), unknown="nodata").tolist() == [1, 0]


def test_nan_and_masked_values_are_nothing():
    assert OWN.index(np.array([3.0, np.nan])).tolist() == [1, 0]
    assert OWN.index(np.ma.masked_equal(np.array([3, 99]), 99)).tolist() == [1, 0]
    with pytest.raises(DataError, match="code 3.5"):
        OWN.index(np.array([3.5]))


def test_tables_of_ones_own(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(OWN.to_json()))
    assert class_table(path) == OWN
    assert class_table(OWN) is OWN
    path.write_text('{"7": "village", "3": ["rice", "paddies"]}')
    short = class_table(str(path))
    assert (short.name, short.codes, short.names) == ("own", (3, 7), ("rice", "village"))
    assert len(set(short.colours)) == 2


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[1, 2]", FormatError, "no JSON object"),
        ("{", FormatError, "no JSON"),
        ('{"classes": [{"code": 1}]}', FormatError, "cannot be read"),
        ('{"classes": [{"code": 1.5, "name": "a"}]}', FormatError, "1.5 is no whole number"),
        ('{"classes": []}', DataError, "0 classes"),
        ('{"classes": [{"code": 1, "name": "a"}, {"code": 1, "name": "b"}]}', DataError, "code 1 twice"),
        ('{"classes": [{"code": 1, "name": "a", "colour": "red"}]}', DataError, "colour 'red'"),
        ('{"classes": [{"code": 1, "name": "a"}], "also": [[5, 2]]}', DataError, "no class 2"),
    ],
)
def test_files_that_hold_no_table(tmp_path, text, error, message):
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(error, match=message):
        class_table(path)


def test_a_name_that_nobody_knows():
    with pytest.raises(UsageError, match="'nlcd2' is no class table: give nlcd, worldcover, lc100, corine"):
        class_table("nlcd2")


def test_more_classes_than_a_byte_holds():
    n = 255
    with pytest.raises(DataError, match="255 classes"):
        ClassTable("many", tuple(range(n)), ("a",) * n, ("#000000",) * n)


def test_captions_speak_of_the_same_classes():
    for name, legend in LEGENDS.items():
        assert list(legend) == list(TABLES[name].codes)
        assert [one.name for one in legend.values()] == list(TABLES[name].names)
