"""Tables written by version 1 of the format are read as they were meant, for ever."""

from pathlib import Path

import numpy as np
import pytest

from placevec.table import open_table, read_table, write_table

HERE = Path(__file__).parent
FINGERPRINTS = {
    "float32": "pv1-c-cc1797fc5392a526d6606bc1458b863d",
    "float16": "pv1-c-1ef679325bd53999feabadb8a5727ea9",
    "int8": "pv1-c-d754d8cd9f0c191af8ae8352c5d137b5",
}


@pytest.mark.parametrize("dtype", FINGERPRINTS)
def test_golden_tables_are_read_as_they_were_meant(dtype: str, tmp_path: Path) -> None:
    path = HERE / f"{dtype}.parquet"
    assert open_table(path).fingerprint() == FINGERPRINTS[dtype]
    table = read_table(path).validate()
    assert len(table) == 12
    assert table.meta.dtype == dtype
    assert table.meta.saw[0].column == "height"
    row = int(table.rows_of(["row-4"])[0])
    grid = np.arange(60, dtype=np.float64).reshape(12, 5)
    expected = np.cos(grid[4]) + 0.25 * grid[4] % 1
    assert table.vectors()[row] == pytest.approx(expected, abs={"float32": 1e-6, "float16": 2e-3, "int8": 1e-2}[dtype])
    assert (table.lon[row], table.lat[row]) == (-60.0, -24.0)
    assert not table.located[int(table.rows_of(["row-7"])[0])]
    assert table.column("name")[row] == "näme 4"
    for form in ("parquet", "lance"):
        write_table(table, tmp_path / f"again.{form}")
        assert open_table(tmp_path / f"again.{form}").fingerprint() == FINGERPRINTS[dtype]
