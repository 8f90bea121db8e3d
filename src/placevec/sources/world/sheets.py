"""Tables of the generated country as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray


def texts(values: NDArray[Any]) -> list[Any]:
    """A column as it is written: seven digits of numbers with fractions."""
    return [f"{value:.7g}" for value in values.tolist()] if values.dtype.kind == "f" else values.tolist()


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
