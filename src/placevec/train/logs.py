"""The logs of a run: two CSV files, and TensorBoard events where they are asked for.

At a resume the logs are cut back to the checkpointed step, so that no step stands in them twice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from placevec import files
from placevec.registry import need


class CsvLog:
    """A CSV file whose first column is `step`, with the columns of its first row.

    Args:
        path: the file.
        step: rows after this step are removed.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.columns: list[str] | None = None
        if path.exists():
            kept = _rows_to(path, step)
            if kept:
                self.columns = kept[0]
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows(kept)
                files.write_text(path, text.getvalue())
            else:
                files.remove(path)

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one row; it is with the operating system when this returns."""
        columns = ["step", *values]
        with self.path.open("a", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            if self.columns is None:
                self.columns = columns
                writer.writerow(columns)
            writer.writerow([step, *(_text(values.get(name, "")) for name in self.columns[1:])])


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a log, as numbers."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as handle:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(handle)]


def _rows_to(path: Path, step: int) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        rows: Sequence[list[str]] = list(csv.reader(handle))
    if not rows:
        return []
    # A row that a kill cut short has fewer columns or ends within a number; it is always later than the checkpoint.
    kept = [row for row in rows[1:] if len(row) == len(rows[0]) and row[0].isdigit() and int(row[0]) <= step]
    return [rows[0], *kept] if kept else []


def _text(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)


class TensorBoard:
    """TensorBoard events; those after the checkpointed step are purged by the reader."""

    def __init__(self, folder: Path, step: int) -> None:
        need("tensorboard", extra="torch", purpose="writing TensorBoard logs")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Write one event for each number."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is held back."""
        self._writer.close()
