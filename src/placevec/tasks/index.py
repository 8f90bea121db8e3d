"""`index`: a search structure beside a table, for tables of which an exact scan takes too long."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placevec.errors import UsageError
from placevec.table import StoredTable, open_table

if TYPE_CHECKING:
    from placevec.index.stored import StoredIndex
    from placevec.index.stored.write import Progress

ENDING = ".index"


@dataclass(frozen=True)
class IndexSummary:
    """What became of an index."""

    path: str  # its folder
    kind: str  # flat, hnsw, ivf-sq8 or ivf
    rows: int  # of the table
    added: int  # rows that came in
    removed: int  # rows that went, changed ones included
    rebuilt: bool  # whether all of it was built
    bytes: int  # of its files
    bytes_a_row: float  # the same for each row
    seconds: float  # that it took

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return dict(vars(self))


def index_table(
    table: str | Path,
    out: str | Path | None = None,
    *,
    kind: str | None = None,
    cells: int | None = None,
    probes: int | None = None,
    m: int | None = None,
    ef: int | None = None,
    update: bool = False,
    progress: Progress | None = None,
) -> IndexSummary:
    """Make an index of a table, or bring one up to date; `search` uses the one that stands beside the table.

    Args:
        table: a table (.parquet or .lance).
        out: the folder of the index; by default ``NAME.index`` beside ``NAME.parquet``.
        kind: flat (all vectors are compared), hnsw (a graph), ivf-sq8 or ivf (cells, with 8 or 16 bits a component);
            by default flat up to 100,000 rows, else ivf-sq8.
        cells: of ivf: how many; by default about 4 √n.
        probes: of ivf: the cells that a query looks into.
        m: of hnsw: the links of a node.
        ef: of hnsw: the nodes that a query keeps in sight; by default, as `probes`, the least with which a sample of
            the rows finds 99 % of its true neighbours.
        update: add the rows that the index does not know, and remove those that are gone.
        progress: called with what is done, all there is, and in which step.

    Raises:
        UsageError: an unknown kind, a number that the kind does not have, `out` is something else, or there is no
            index to bring up to date.
        CheckpointError: the index to bring up to date is damaged.
        SpaceMismatch: it is of another Space than the table.
        MissingExtra: faiss is not installed, and the kind needs it.
        DataError: the table changed meanwhile, or the disk is full.
    """
    from placevec.index.stored import IndexSettings, build_index, update_index

    began = time.monotonic()
    goal = index_path(table) if out is None else _named(Path(out))
    stored = open_table(table)
    numbers = {"cells": cells, "probes": probes, "m": m, "ef": ef}
    if update:
        given = [name for name, value in {"kind": kind, **numbers}.items() if value is not None]
        if given:
            raise UsageError(f"an update keeps {', '.join(given)} as it is: index without it to build another")
        written = update_index(stored, goal, progress)
    else:
        written = build_index(stored, goal, IndexSettings.chosen(stored.num_rows, kind, **numbers), progress)
    size = sum(digest.bytes for digest in written.card.files.values())
    return IndexSummary(
        str(goal),
        written.card.settings.kind,
        written.card.rows,
        written.added,
        written.removed,
        written.rebuilt,
        size,
        round(size / max(1, written.card.rows), 1),
        round(time.monotonic() - began, 3),
    )


def verify_index(table: str | Path, out: str | Path | None = None) -> dict[str, Any]:
    """Read every byte of an index and of its table, and compare them with what was written.

    Args:
        table: the table.
        out: the index; by default the one beside the table.

    Returns:
        path, kind, rows and the fingerprint of the table, if all is in order.

    Raises:
        UsageError: there is no index.
        CheckpointError: a file of it is missing or damaged.
        SpaceMismatch, StaleIndex: it does not belong to the table.
    """
    from placevec.errors import StaleIndex
    from placevec.index.stored import StoredIndex, check_files, read_card

    goal = index_path(table) if out is None else _named(Path(out))
    check_files(goal, read_card(goal), fully=True)
    stored = open_table(table)
    index = StoredIndex(goal, stored)
    now = stored.fingerprint()
    if now != index.fingerprint:
        raise StaleIndex(f"{goal} was made from {index.fingerprint}, the table is {now}: index it again")
    return {"path": str(goal), "kind": index.name, "rows": index.num_rows, "fingerprint": now}


def index_beside(table: str | Path | StoredTable) -> StoredIndex | None:
    """The index that stands beside a table, opened for it; None if there is none.

    Args:
        table: the path of a table, or the opened table that will be searched (it is not opened again then).

    Raises:
        CheckpointError: it is damaged.
        SpaceMismatch, StaleIndex: it does not belong to the table as it is now.
        MissingExtra: faiss is not installed, and the index needs it.
    """
    path = table.path if isinstance(table, StoredTable) else table
    if "://" in str(path) or not (index_path(path) / "index.json").is_file():
        return None
    from placevec.index.stored import StoredIndex

    return StoredIndex(index_path(path), table if isinstance(table, StoredTable) else open_table(table))


def index_path(table: str | Path) -> Path:
    """Where the index of a table stands if nothing else is said: ``image.index`` beside ``image.parquet``."""
    path = Path(table)
    return path.with_name(path.stem + ENDING)


def _named(out: Path) -> Path:
    if out.suffix != ENDING:
        raise UsageError(f"{out}: the name of an index ends in {ENDING}, as in {out.stem or 'image'}{ENDING}")
    return out
