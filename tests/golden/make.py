"""Write the golden tables. They are never written again unless the format changes, and then its version does too.

python tests/golden/make.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely

from placevec.provenance import Saw, SourceRef, Space
from placevec.table import EmbeddingTable, Places, write_table

HERE = Path(__file__).parent


def golden(dtype: str) -> EmbeddingTable:
    """A table with every kind of column, from plain arithmetic alone."""
    n, d = 12, 5
    grid = np.arange(n * d, dtype=np.float64).reshape(n, d)
    vectors = np.cos(grid) + 0.25 * grid % 1
    geometry = np.array(
        [None if i == 7 else shapely.Point(-180 + 30 * i, -80 + 14 * i) for i in range(n - 1)]
        + [shapely.box(10, 40, 11, 41)]
    )
    places = Places.create(
        [f"row-{i}" for i in range(n)],
        geometry=geometry,
        place=[f"place-{i // 2}" for i in range(n)],
        h3=np.repeat(np.array([0x85283473FFFFFFF, 0x8528347BFFFFFFF, 0x85283463FFFFFFF], dtype=np.uint64), 4),
        time_start=np.array(["2020-01-01"], dtype="datetime64[us]") + np.arange(n),
        asset=[f"image.tif#xywh={i},0,16,16" for i in range(n)],
        attributes={
            "name": np.array([None if i == 3 else f"näme {i}" for i in range(n)], dtype=object),
            "height": np.linspace(-10, 3000, n),
            "count": np.arange(n),
            "flag": np.arange(n) % 2 == 0,
        },
    )
    return EmbeddingTable.of(
        places,
        vectors,
        Space("asserted:golden", d, "cosine", "asserted"),
        dtype=dtype,
        tower="image",
        encoder="none",
        seed=1,
        sources=(SourceRef("image.tif", "00", "CC0", "nobody"),),
        saw=(Saw("pv1-0", "height", {"rule": "random", "k": 5, "seed": 0}, (0, 1)),),
    )


if __name__ == "__main__":
    for dtype in ("float32", "float16", "int8"):
        table = golden(dtype)
        write_table(table, HERE / f"{dtype}.parquet")
        print(dtype, table.fingerprint())
