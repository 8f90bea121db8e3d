"""``placevec import``: foreign tables to one table of ours, checkpoints of others to models, whole or not at all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from placevec.encoders.importers import importer
from placevec.errors import UsageError
from placevec.registry import need
from placevec.sources.tables import Imported, read_foreign
from placevec.table.io import open_table, write_table
from placevec.table.skipped import write_skipped

# A table larger than this is streamed in the order of its files instead of sorted in memory.
SORT_BYTES = 1 << 30

_SUFFIXES = (".parquet", ".geoparquet", ".gpq", ".lance")
TABLE = "table"  # what `import` brings in, unless it is told the kind of a checkpoint


def import_tables(
    paths: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    order: Literal["auto", "hilbert", "keep"] = "auto",
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Bring foreign tables in as one table at `out` (.parquet or .lance), written whole or not at all.

    Args:
        paths: files or patterns; see `read_foreign`.
        out: the table to write. Rows without a vector stand beside it, in ``NAME.skipped.parquet``.
        order: "hilbert" sorts rows in memory, so that a filter by place reads its share of the file; "keep" leaves
            them in the order of the files and holds only a few of them in memory; "auto" sorts what takes less than
            1 GiB.
        progress: told how many of how many files are read.
        options: what `read_foreign` takes: crs, space, id, lon, lat, geometry, vector, prefix, dtype, cells, bbox …

    Returns:
        path, rows, skipped, dims, dtype, space, normalized, fingerprint, order, files and notes.

    Raises:
        What `read_foreign` raises; nothing is written then.
    """
    goal = Path(out)
    if goal.suffix not in _SUFFIXES:
        raise UsageError(f"{out}: a table's name ends in .parquet or .lance; other forms are written by `export`")
    if order not in ("auto", "hilbert", "keep"):
        raise UsageError(f"rows cannot be ordered by {order!r}: choose auto, hilbert or keep")
    imported = read_foreign(paths, **options)
    for file in imported.files:
        if "://" not in file.path and Path(file.path).resolve() == goal.resolve():
            raise UsageError(f"{out} is one of the files to import: write to another name")
    used = order if order != "auto" else ("hilbert" if imported.bytes <= SORT_BYTES else "keep")
    if used == "hilbert":
        write_table(imported.table(), goal)
    elif goal.suffix == ".lance":
        _stream_lance(imported, goal, progress)
    else:
        _stream_parquet(imported, goal, progress)
    write_skipped(goal, imported.skipped)
    notes = imported.notes
    if order == "auto" and used == "keep":
        notes.append("rows are in the order of the files, as they take more than 1 GiB; --order hilbert sorts them")
    return {
        "path": str(out),
        "rows": imported.rows,
        "skipped": len(imported.skipped),
        "dims": imported.meta.space.dims,
        "dtype": imported.meta.dtype,
        "space": imported.meta.space.id,
        "normalized": imported.meta.normalized,
        "fingerprint": open_table(goal).fingerprint(),
        "order": used,
        "files": len(imported.files),
        "notes": notes,
    }


def import_model(paths: Iterable[str | Path], out: str | Path, kind: str, **options: Any) -> dict[str, Any]:
    """Bring a checkpoint of another project in as a model folder at `out`, written whole or not at all.

    Args:
        paths: the files of the checkpoint.
        out: the model folder.
        kind: of checkpoint, one of `encoders.importers.IMPORTERS`.
        options: what the importer takes (`basis` of satclip, `tokenizer` and `activation` of open-clip); those that
            are None are left out.

    Returns:
        path, kind, name, space, dims, weights (how many numbers), licence, sha256 of the checkpoint, and notes.

    Raises:
        UsageError: an unknown kind, an option that it does not take, or a folder in the way that is no model.
        CheckpointError: the checkpoint is damaged or of another architecture; nothing is written then.
        MissingExtra: torch is not installed.
    """
    goal = Path(out)
    if goal.suffix in _SUFFIXES:
        raise UsageError(f"{out}: a checkpoint becomes a model folder, not a table: give a name such as models/{kind}")
    if goal.exists() and not (goal / "card.json").is_file() and not (goal.is_dir() and not any(goal.iterdir())):
        raise UsageError(f"{out} exists and is no model folder: write to another name")
    given = {name: value for name, value in options.items() if value is not None}
    need("torch", extra="torch", purpose="reading a checkpoint")
    read = importer(kind)
    odd = sorted(set(given) - set(inspect.signature(read).parameters))
    if odd:
        raise UsageError(f"a checkpoint of {kind} takes no --{odd[0]}: leave it out")
    model = read([Path(path) for path in paths], **given)
    card = model.encoder.save(goal).card
    return {
        "path": str(out),
        "kind": kind,
        "name": card.name,
        "space": card.space.id,
        "dims": card.space.dims,
        "weights": sum(value.numel() for net in _nets(model.encoder) for value in net.parameters()),
        "licence": card.licence,
        "sha256": card.sources[0].sha256,
        "notes": list(model.notes),
    }


def _nets(encoder: Any) -> list[Any]:
    """The networks of an encoder: several, for a pair of towers."""
    return encoder.modules() if hasattr(encoder, "modules") else [encoder.net]


def _stream_parquet(imported: Imported, goal: Path, progress: Callable[[int, int], None] | None) -> None:
    from placevec.table.parquet import ParquetSink

    batches = imported.batches(progress)
    # What is wrong with the first rows shows before a file is begun.
    first = next(batches)
    with ParquetSink(goal, imported.meta) as sink:
        for batch in chain([first], batches):
            sink.write(batch.data)
        # Only now is it known whether all vectors have length 1; the footer is written last.
        sink.meta = imported.meta


def _stream_lance(imported: Imported, goal: Path, progress: Callable[[int, int], None] | None) -> None:
    from placevec.table.lance import write_lance

    # The footer of a Lance dataset is written first: what it says has to be known before the rows are.
    imported.survey()

    def data() -> Iterator[pa.Table]:
        for batch in imported.batches(progress):
            yield batch.data

    write_lance(data(), goal, imported.meta)
