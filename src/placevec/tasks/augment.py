"""`augment`: what banks say about each place of a table, as further columns of its vectors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from placevec.engine.work import Progress
from placevec.errors import DataError, UsageError
from placevec.features.retrieval import Augmented, Bank, Fusion, Masks, mode_of
from placevec.features.retrieval.blocks import BATCH
from placevec.features.retrieval.fusion import once_harmonic
from placevec.provenance import TableMeta, inherit_saw
from placevec.table import EmbeddingTable, Skipped, StoredTable, open_table, skipped_counts, write_skipped
from placevec.table.blocks import block_records
from placevec.table.embeddings import check_finite

Table: TypeAlias = str | Path | EmbeddingTable | StoredTable

STAGE = "augment"
_SAMPLE = 4096
_FORMS = (".parquet", ".geoparquet", ".gpq", ".lance")


@dataclass(frozen=True)
class AugmentSummary:
    """What `augment` has made.

    Attributes:
        out: the table.
        places: places in = `rows` + `skipped`.
        rows: places with an answer.
        skipped: places without one; they stand in ``NAME.skipped.parquet``.
        skipped_because: how many for each "stage: reason".
        mode: how the banks were looked up.
        dims: components of a vector.
        blocks: name, first and last + 1 column and weight of each block.
        widths_m: of the geographic kernels, bank by bank.
        bank_rows: rows of the banks that could be used.
        index: by which keys were searched, bank by bank where that differs; "" if they were not.
        left_out: the mean over the rows of the bound on the softmax that was cut off.
        space: id of the Space of the vectors.
        seconds: time taken.
        notes: what a person should know.
    """

    out: Path
    places: int
    rows: int
    skipped: int
    skipped_because: Mapping[str, int]
    mode: str
    dims: int
    blocks: tuple[Mapping[str, Any], ...]
    widths_m: tuple[float, ...]
    bank_rows: int
    index: str
    left_out: float
    space: str
    seconds: float
    notes: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            **asdict(self),
            "out": str(self.out),
            "blocks": [dict(block) for block in self.blocks],
            "widths_m": list(self.widths_m),
            "notes": list(self.notes),
        }


@dataclass
class _Count:
    """What the batches added up to."""

    rows: int = 0
    left_out: float = 0.0
    touching: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def augment(
    table: Table,
    bank: Table | Sequence[Table],
    out: str | Path,
    *,
    keys: Table | Sequence[Table | None] | None = None,
    mode: str = "multiscale",
    settings: Mapping[str, Any] | None = None,
    own: bool = False,
    context: bool = False,
    buffer_m: float = 0.0,
    max_m: float | None = None,
    folds: int = 0,
    index: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> AugmentSummary:
    """Look every place of `table` up in `bank`, and write its vector with the answers beside it.

    The table is read in batches and written as it comes; banks are held in memory as float32. The result has two
    more attributes: `support` (how much bank stands behind the answer, see `features.retrieval.blocks`) and `bank_m`
    (metres to the nearest bank row that counts); of several banks the least of each. A place
    of a bank never finds itself, unless `own` asks for it.

    Where the table was itself made by `augment` its blocks are carried over: the recipe lists all blocks of all
    columns (`table.blocks.blocks_of`), and harmonics that it has are not added once more unless `settings` name some.

    Args:
        table: the queries, in a Space S.
        bank: what is looked up: any table, or several.
        out: ``.parquet`` or ``.lance``; it appears when all is done.
        keys: vectors in S by the ids of the bank, such as the location encoder's at the bank's places. Not needed
            where the bank is itself in S, nor for the modes concat and geo. Of several banks: one for all of them, or
            one for each, None where a bank needs none.
        mode: one of `features.retrieval.MODES`.
        settings: of the mode, by name.
        own: the bank's own row of the same id becomes a block too; a place that lacks one in a bank is skipped.
        context: the kernel means include the place itself and what lies within the buffer; with `own` only. They are
            then inputs like means over rings, not what a place without imagery would have.
        buffer_m: bank rows within so many metres of a place do not count for it.
        max_m: bank rows beyond so many metres do not count.
        folds: answer places of the bank from its other folds, as many as given, instead of leaving each out alone; see
            `features.retrieval.crossfit`. 0: no folds.
        index: by which keys are searched: "auto" (exact up to 100,000 rows), "exact" or "faiss".
        dtype: how the vectors are stored: "float32" or "float16".
        progress: called with the places done, all places, and counts.

    Raises:
        SpaceMismatch: a mode compares vectors, and the bank has none in S.
        UsageError: an unknown mode, setting or index, settings or keys that do not go together, or a name that is none
            of a table.
        DataError: the table or the bank is empty, or masking leaves no bank row for any place.
        SchemaError: a vector is not finite.
    """
    began = time.monotonic()
    goal = Path(out)
    if goal.suffix not in _FORMS:
        raise UsageError(f"{out}: a table's name ends in .parquet or .lance")
    if dtype not in ("float32", "float16"):
        raise UsageError(f"augmented vectors cannot be stored as {dtype!r}: choose float32 or float16")
    how, masks = mode_of(mode, settings), Masks(buffer_m, max_m)
    queries = _open(table)
    if not len(queries):
        raise DataError(f"{_name(table, 'the table')} has no rows, so there is nothing to augment")
    named = [bank] if isinstance(bank, str | Path | EmbeddingTable | StoredTable) else list(bank)
    sources = [_open(one) for one in named]
    held = [
        Bank.of(
            source,
            None if key is None or not how.semantic else _open(key),
            queries=queries.space,
            index=index,
            name=_name(one),
        )
        for source, key, one in zip(sources, _keys_of(keys, len(named)), named, strict=True)
    ]
    carried = block_records(queries.meta)
    if "degrees" not in (settings or {}):
        how = once_harmonic(how, carried)
    asked = Fusion(held, how, masks, own=own, context=context, folds=folds, sample=_sample(queries), carried=carried)
    meta = _meta(queries, asked, dtype)
    count = _Count()
    _write(_answers(queries, asked, meta, masks, count, progress), goal, meta)
    write_skipped(goal, count.skipped)
    return AugmentSummary(
        out=goal,
        places=len(queries),
        rows=count.rows,
        skipped=len(count.skipped),
        skipped_because=skipped_counts(count.skipped),
        mode=how.kind,
        dims=asked.dims,
        blocks=tuple(block.to_json() for block in asked.blocks),
        widths_m=asked.widths_m,
        bank_rows=sum(len(one.bank) for one in asked.members),
        index=", ".join(dict.fromkeys(one.bank.index.name for one in asked.members)) if how.semantic else "",
        left_out=round(count.left_out / max(count.rows, 1), 6),
        space=meta.space.id,
        seconds=round(time.monotonic() - began, 3),
        notes=_notes(held, asked, count, [len(source) for source in sources]),
    )


def _keys_of(keys: Table | Sequence[Table | None] | None, banks: int) -> list[Table | None]:
    """The keys of each bank; UsageError if they are not as many."""
    if keys is None or isinstance(keys, str | Path | EmbeddingTable | StoredTable):
        return [keys] * banks
    listed = list(keys)
    if len(listed) == 1:
        return listed * banks
    if len(listed) != banks:
        raise UsageError(
            f"{len(listed)} tables of keys for {banks} banks: give one for all, or one for each in the same order "
            "(- for a bank that needs none)"
        )
    return listed


def _answers(
    queries: EmbeddingTable | StoredTable,
    asked: Fusion,
    meta: TableMeta,
    masks: Masks,
    count: _Count,
    progress: Progress | None,
) -> Iterator[pa.Table]:
    """The augmented rows, batch by batch; DataError at the end if there was none."""
    done = 0
    for batch in queries.batches(batch_rows=BATCH):
        vectors = batch.vectors()
        check_finite(vectors, batch.ids)
        found = asked.rows((batch.lon, batch.lat), vectors, ids=batch.ids, keys=batch.keys)
        good = np.flatnonzero(found.usable)
        _skip(batch, found, masks, count)
        count.rows += len(good)
        count.left_out += float(found.left_out[good].sum())
        count.touching += int((found.bank_m[good] < 1.0).sum())
        rows = batch.places().take(good)
        rows = rows.with_column("support", found.support[good].astype(np.float32))
        rows = rows.with_column("bank_m", pa.array(found.bank_m[good], from_pandas=True))
        made = EmbeddingTable.of(rows, found.vectors[good], meta.space, dtype=meta.dtype, normalized=False)
        done += len(batch)
        if progress is not None:
            progress(done, len(queries), {"skipped": len(count.skipped)})
        yield made.data
    if not count.rows:
        raise DataError(
            f"empty bank after masking: no place has a bank row left ({next(iter(skipped_counts(count.skipped)))}); "
            "give a smaller --buffer, a larger --max-distance, or another bank"
        )


def _skip(batch: EmbeddingTable, found: Augmented, masks: Masks, count: _Count) -> None:
    for row in np.flatnonzero(~found.usable).tolist():
        reason = str(found.reason[row])
        if reason.endswith("masking"):
            reason = f"{reason} ({masks} do not count)"
        geometry = batch.data["geometry"][row].as_py()
        count.skipped.append(Skipped(str(batch.ids[row]), STAGE, reason, geometry))


def _write(pieces: Iterator[pa.Table], goal: Path, meta: TableMeta) -> None:
    if goal.suffix == ".lance":
        from placevec.table.lance import write_lance

        write_lance(pieces, goal, meta)
        return
    from placevec.table.parquet import ParquetSink

    with ParquetSink(goal, meta, count=False) as sink:
        for piece in pieces:
            sink.write(piece)


def _meta(queries: EmbeddingTable | StoredTable, asked: Fusion, dtype: str) -> TableMeta:
    own, banks = queries.meta, [one.bank for one in asked.members]
    return TableMeta(
        space=asked.space(queries.space),
        tower="augmented",
        dtype=dtype,
        dims=asked.names,
        kind=own.kind,
        chip_layout=own.chip_layout,
        encoder=" + ".join([own.encoder or "query", *(bank.name for bank in banks)]),
        recipe={"do": "augment", "query": dict(own.recipe), **asked.settings()},
        seed=own.seed,
        sources=tuple(dict.fromkeys((*own.sources, *(one for bank in banks for one in bank.sources)))),
        parents=tuple(dict.fromkeys((queries.fingerprint(), *(one for bank in banks for one in bank.parents)))),
        saw=inherit_saw(own.saw, *(bank.saw for bank in banks)),
    )


def _notes(held: Sequence[Bank], asked: Fusion, count: _Count, bank_rows: Sequence[int]) -> tuple[str, ...]:
    notes = [f"{n:,} places skipped: {reason}" for reason, n in list(skipped_counts(count.skipped).items())[:5]]
    several = len(held) > 1
    for bank, member, label, rows in zip(held, asked.members, asked.labels, bank_rows, strict=True):
        of = f"{label}: " if several else ""
        if bank.without_key:
            notes.append(f"{of}{bank.without_key:,} of {rows:,} bank rows have no key and cannot be found")
        unplaced = len(bank) - len(member.bank)
        if unplaced:
            notes.append(f"{of}{unplaced:,} bank rows have no geometry and cannot be found")
    if count.touching and asked.mode.kind != "concat" and not asked.masks.buffer_m and not asked.context:
        notes.append(
            f"{count.touching:,} places lie within a metre of a bank row of another id: if that is the same place, "
            "keep it out with a buffer"
        )
    return tuple(notes)


def _sample(queries: EmbeddingTable | StoredTable) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.arange(0, len(queries), max(1, len(queries) // _SAMPLE))
    return queries.vectors(rows) if isinstance(queries, EmbeddingTable) else queries.take(rows, columns=[]).vectors()


def _open(table: Table) -> EmbeddingTable | StoredTable:
    return open_table(table) if isinstance(table, str | Path) else table


def _name(table: Table, otherwise: str = "the bank") -> str:
    if isinstance(table, EmbeddingTable):
        return otherwise
    return Path(str(table.path if isinstance(table, StoredTable) else table)).name
