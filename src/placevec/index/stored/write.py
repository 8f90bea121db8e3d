"""Build an index from a table, or bring one up to date: the table is read once, in batches, and a kill leaves the old.

What stays in memory is the structure of faiss (at 8 bits a component a quarter of the vectors), the ids and 24 bytes
a row; vectors go to their file as they are read, and from there to faiss.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.files import whole, write_text
from placevec.index.base import Rows
from placevec.index.stored.card import CARD, REMEDY, IndexCard, of_table, read_card, state_of
from placevec.index.stored.digests import FileDigest
from placevec.index.stored.finders import STRUCTURE, built, extend, read_structure, without, write_structure
from placevec.index.stored.index import check_files
from placevec.index.stored.settings import IndexSettings
from placevec.index.stored.slots import DEAD, IDS, Hashes, Slots, keys_of, row_states
from placevec.index.stored.tune import Measured, sample_vectors, tuned
from placevec.index.stored.vectors import VECTORS, VectorsFile, kept, kept_dtype
from placevec.table import EmbeddingTable, StoredTable
from placevec.table.fingerprint import Fingerprint

# With a larger share of dead slots an index is built again.
_DEAD_SHARE = 1 / 5
# Grown by more than this since k-means looked at the rows, it is too.
_GROWTH = 2.0

Table = EmbeddingTable | StoredTable
Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with what is done, all there is, and in which step."""


@dataclass(frozen=True)
class Written:
    """What became of an index."""

    card: IndexCard
    added: int  # rows that came in
    removed: int  # rows that went, those that changed included
    rebuilt: bool  # whether all of it was built


@dataclass
class _Survey:
    """What one reading of the table found."""

    rows: Rows  # (old slots,) the row that each stands for now, DEAD where there is none
    ids: list[pa.ChunkedArray] = field(default_factory=list)  # of rows that are new or changed, in their order
    keys: list[Hashes] = field(default_factory=list)
    hashes: list[Hashes] = field(default_factory=list)
    numbers: list[Rows] = field(default_factory=list)
    total: int = 0
    fingerprint: str = ""
    state: str = ""

    @property
    def new(self) -> int:
        """How many rows are new or changed."""
        return sum(len(part) for part in self.numbers)

    def slots(self, old: Slots | None) -> Slots:
        """The slots of the index that is written: the old ones, then those of new rows."""
        ids = [chunk for part in self.ids for chunk in part.chunks]
        return Slots(
            pa.chunked_array([*(old.ids.chunks if old else ()), *ids], pa.large_string()),
            np.concatenate([old.keys if old else np.empty(0, np.uint64), *self.keys]),
            np.concatenate([old.hashes if old else np.empty(0, np.uint64), *self.hashes]),
            np.concatenate([self.rows, *self.numbers]),
        )


def build_index(
    table: Table, folder: str | Path, settings: IndexSettings | None = None, progress: Progress | None = None
) -> Written:
    """Make an index of a table; the folder appears, or is replaced, when all is written.

    Args:
        table: in memory, or in a file of any size.
        folder: where the index goes.
        settings: kind and numbers; by default flat up to 100,000 rows, else ivf-sq8.
        progress: called while it works.

    Raises:
        UsageError: the folder is there and is no index.
        MissingExtra: faiss is not installed, and the kind needs it.
        DataError: the table changed while it was read, or the disk is full.
    """
    goal = Path(folder)
    if goal.exists() and not (goal / CARD).is_file():
        raise UsageError(f"{goal} is there already and is no index: give another name")
    with whole(goal) as part:
        part.mkdir()
        card = _fill(part, table, settings or IndexSettings.chosen(table.num_rows), progress)
    return Written(card, card.rows, 0, True)


def update_index(table: Table, folder: str | Path, progress: Progress | None = None) -> Written:
    """Bring an index up to date with its table: rows that it does not know come in, those that are gone go.

    A changed row goes and comes in. Rows go from an inverted file for good; of a graph and of a flat index they are
    passed over from now on. The index is built again where more than a fifth of it is dead, or the table has more
    than doubled since.

    Args:
        table: what the index was made from, as it is now.
        folder: the index.
        progress: called while it works.

    Raises:
        UsageError: there is no index.
        CheckpointError: it is damaged.
        SpaceMismatch: the table is of another Space.
        DataError: the table changed while it was read, or the disk is full.
    """
    goal = Path(folder)
    card = read_card(goal)
    card.of_space(table)
    check_files(goal, card)
    if not card.slots or card.dtype != kept_dtype(table.meta).name:
        return build_index(table, goal, card.settings, progress)
    old = Slots.read(goal / IDS, card.slots, REMEDY)
    with whole(goal) as part:
        part.mkdir()
        survey = _survey(table, old, _Sink(part / VECTORS, goal / VECTORS, table), progress)
        removed = old.live[survey.rows[old.live] == DEAD]
        dead = int(np.count_nonzero(survey.rows == DEAD))
        rebuilt = dead > _DEAD_SHARE * (len(old) + survey.new) or survey.total > _GROWTH * max(1, card.trained)
        if rebuilt:
            (part / VECTORS).unlink(missing_ok=True)
            found = card.settings if not card.chosen else replace(card.settings, probes=None, ef=None)
            written = _fill(part, table, found, progress)
        else:
            _change(goal, part, table, card, removed, survey.new, progress)
            slots = survey.slots(old)
            written = _finish(part, table, card.settings, slots, survey, card.trained, card.measured, card.chosen)
    return Written(written, survey.new, len(removed), rebuilt)


class _Sink:
    """Takes the vectors that are to be kept; its file begins with those of `old`, and with the first new one."""

    def __init__(self, path: Path, old: Path | None, table: Table) -> None:
        self._path, self._old = path, old
        self._dtype, self._dims = kept_dtype(table.meta), table.space.dims
        self._file: VectorsFile | None = None

    def add(self, vectors: NDArray[Any]) -> None:
        self._file = self._file or VectorsFile(self._path, self._dtype, self._dims, self._old)
        self._file.add(vectors)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _fill(part: Path, table: Table, settings: IndexSettings, progress: Progress | None) -> IndexCard:
    """Write a whole index into the folder `part`."""
    sink = _Sink(part / VECTORS, None, table)
    survey = _survey(table, None, sink, progress)
    used, measured = settings, None
    if survey.total and settings.kind != "flat":
        structure = built(part / VECTORS, survey.total, kept_dtype(table.meta), table.space, settings)
        _extend(structure, part / VECTORS, 0, survey.total, table, progress)
        write_structure(structure, part / STRUCTURE)
        if progress is not None:
            progress(0, 1, {"step": "measuring"})
        used, measured = tuned(structure, sample_vectors(part / VECTORS), table.space, settings)
        if progress is not None:
            progress(1, 1, {"step": "measuring"})
    return _finish(part, table, used, survey.slots(None), survey, survey.total, measured, used != settings)


def _change(
    goal: Path, part: Path, table: Table, card: IndexCard, removed: Rows, new: int, progress: Progress | None
) -> None:
    """Write into `part` the vectors and the structure of the index `goal` with some slots removed and some new."""
    if not new:
        _link(goal / VECTORS, part / VECTORS)
    if card.settings.kind == "flat":
        return
    if not new and (card.settings.kind == "hnsw" or not len(removed)):
        _link(goal / STRUCTURE, part / STRUCTURE)
        return
    structure = read_structure(goal / STRUCTURE, card.settings, REMEDY, mapped=False)
    without(structure, removed)
    _extend(structure, part / VECTORS, card.slots, card.slots + new, table, progress)
    write_structure(structure, part / STRUCTURE)


def _extend(structure: Any, path: Path, first: int, last: int, table: Table, progress: Progress | None) -> None:
    for slots in extend(structure, path, first, table.space):
        if progress is not None:
            progress(slots - first, last - first, {"step": "adding"})


def _survey(table: Table, old: Slots | None, sink: _Sink, progress: Progress | None) -> _Survey:
    """Read the table once: which rows are known, which are new; the vectors of these go to the sink."""
    survey = _Survey(np.full(0 if old is None else len(old), DEAD, dtype=np.int64), state=state_of(table))
    fingerprint = Fingerprint()
    for piece in table.batches():
        data, first = piece.data, survey.total
        fingerprint.update(data)
        keys, hashes = keys_of(data["id"]), row_states(data)
        fresh = np.arange(len(keys))
        if old is not None:
            slots = old.find(keys)
            same = (slots >= 0) & (old.hashes[slots] == hashes)
            survey.rows[slots[same]] = first + np.flatnonzero(same)
            fresh = np.flatnonzero(~same)
        if len(fresh):
            whole_piece = len(fresh) == len(keys)
            part = piece if whole_piece else EmbeddingTable(data.take(pa.array(fresh)), piece.meta)
            sink.add(kept(part))
            survey.ids.append(part.data["id"].cast(pa.large_string()))
            survey.keys.append(keys[fresh])
            survey.hashes.append(hashes[fresh])
            survey.numbers.append(first + fresh)
        survey.total += len(keys)
        if progress is not None:
            progress(survey.total, table.num_rows, {"step": "reading"})
    sink.close()
    if survey.total != table.num_rows or state_of(table) != survey.state:
        raise DataError(f"the table changed while it was read ({survey.total:,} rows): run it again")
    survey.fingerprint = str(fingerprint)
    return survey


def _finish(
    part: Path,
    table: Table,
    settings: IndexSettings,
    slots: Slots,
    survey: _Survey,
    trained: int,
    measured: Measured | None,
    chosen: bool,
) -> IndexCard:
    """Write the ids and the card, which makes the folder an index."""
    slots.write(part / IDS)
    names = [name for name in (STRUCTURE, VECTORS, IDS) if (part / name).exists()]
    card = IndexCard(
        settings,
        rows=survey.total,
        slots=len(slots),
        trained=trained,
        fingerprint=survey.fingerprint,
        state=survey.state,
        dtype=kept_dtype(table.meta).name,
        measured=measured,
        chosen=chosen,
        files={name: FileDigest.of(part / name, sampled=name == VECTORS) for name in names},
        **of_table(table.meta),
    )
    write_text(part / CARD, card.text())
    return card


def _link(old: Path, new: Path) -> None:
    """The same file under another name, where the disk can do that: the files of an index are never changed."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
