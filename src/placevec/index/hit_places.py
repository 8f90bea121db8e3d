"""The places of hits, taken from their table when somebody looks at them: most who search want rows and scores."""

from __future__ import annotations

from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.table import Places


class PlacesOfRows(Places):
    """Some rows of a table; until their `data` are asked for they are row numbers.

    Args:
        source: the columns that the places have; it is kept as long as they are.
        rows: (n,) the numbers of the rows.
    """

    def __init__(self, source: pa.Table, rows: NDArray[np.int64]) -> None:
        self._source = source
        self._rows = rows

    def __getattr__(self, name: str) -> pa.Table:
        # Called for what is not there: `data` until somebody asks for it.
        if name != "data":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        self.data = self._source.take(pa.array(self._rows))
        return self.data

    def __len__(self) -> int:
        return len(self._rows)

    def _with(self, data: pa.Table) -> Self:
        made = type(self)(data, np.arange(data.num_rows))
        made.data = data
        return made
