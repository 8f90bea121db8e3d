"""Foreign tables as one EmbeddingTable: checked, in one Space, in memory or piece by piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import SchemaError, SpaceMismatch, UsageError
from placevec.geo.boxes import Box
from placevec.geo.cells import Cells, parse_cells
from placevec.provenance import Space, TableMeta, inherit_saw
from placevec.sources.tables.csv import CsvFile
from placevec.sources.tables.detect import expand, form_of
from placevec.sources.tables.lance import LanceSource
from placevec.sources.tables.layout import shared_schema
from placevec.sources.tables.options import Options
from placevec.sources.tables.parquet import ParquetSource
from placevec.sources.tables.piece import ForeignFile, Piece
from placevec.sources.tables.rasters import RasterFile, means
from placevec.table.codec import NORM_TOLERANCE, decode, encode, symmetric
from placevec.table.embeddings import EmbeddingTable, norms, to_arrow
from placevec.table.fingerprint import row_hashes
from placevec.table.skipped import Skipped

Progress = Callable[[int, int], None]


class Imported:
    """Foreign files, understood but not read: `table` brings them into memory, `batches` piece by piece.

    All checks that need the rows (duplicate ids, values that are not finite, ragged vectors, coordinates) run while
    they are read; `notes`, `skipped`, `rows` and `meta.normalized` are complete when all were.

    Attributes:
        files: the files, in the order in which their rows come.
        meta: Space, codec and provenance of the table.
        schema: the columns of the table, vectors apart.
        skipped: rows that have no vector.
        rows: the number of rows that were read.
    """

    def __init__(self, files: list[ForeignFile], options: Options) -> None:
        self.files = files
        self.options = options
        self.meta = self._meta()
        self._check_columns()
        self.schema = shared_schema({file.path: file.schema for file in files})
        self.skipped: list[Skipped] = []
        self.rows = 0
        self._counts: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"Imported({len(self.files)} files, {self.meta.space.label}, {self.meta.dtype})"

    @property
    def bytes(self) -> int:
        """About how much memory the whole table takes."""
        return sum(file.bytes for file in self.files)

    @property
    def notes(self) -> list[str]:
        """What was understood, mapped, assumed and left out, a line each."""
        found = Counter(note for file in self.files for note in dict.fromkeys(file.notes))
        many = len(self.files) > 1
        notes = [f"{note} ({count} of {len(self.files)} files)" if many else note for note, count in found.items()]
        if self.meta.space.origin == "unknown":
            model = next((file.model for file in self.files if file.model), "")
            said = f"the file names the model {model!r}" if model else "nothing says what made the vectors"
            notes.append(
                f"the Space is unknown ({said}): its vectors compare only with each other; or say --space NAME"
            )
        notes += [f"{count:,} {what} were left out" for what, count in self._counts.items() if count]
        if self.skipped:
            notes.append(f"{len(self.skipped):,} rows without a vector were skipped")
        return notes

    def table(self) -> EmbeddingTable:
        """All rows in memory, validated."""
        parts = [batch.data for batch in self.batches()]
        return EmbeddingTable(pa.concat_tables(parts).combine_chunks(), self.meta).validate()

    def survey(self) -> None:
        """Read everything once without keeping it: every check runs, and `meta` is complete thereafter."""
        for _ in self.batches():
            pass

    def batches(self, progress: Progress | None = None) -> Iterator[EmbeddingTable]:
        """The rows in pieces, in the order of the files; at least one, so that an empty table has its columns.

        `progress` is told how many of how many files are read.
        """
        self.skipped, self.rows, self._counts = [], 0, Counter()
        if self.meta.dtype == "int8" and self.meta.codec is None:
            # The scale of int8 is that of the largest value, which may be the last.
            self.meta = self.meta.replace(codec=self._linear())
        unit = True
        hashes: list[NDArray[np.uint64]] = []
        for done, piece in self._pieces():
            self.skipped += piece.skipped
            self._counts.update(piece.counts)
            hashes.append(row_hashes(piece.places.select(["id"])))
            hashes += [row_hashes(pa.table({"id": [row.id for row in piece.skipped]}))] if piece.skipped else []
            stored = self._stored(piece.vectors)
            lengths = norms(decode(stored, self.meta.codec))
            unit = unit and bool((np.abs(lengths - 1.0) <= NORM_TOLERANCE[self.meta.dtype]).all())
            self.rows += len(stored)
            data = piece.places.select(self.schema.names).cast(self.schema)
            yield EmbeddingTable(data.append_column("embedding", to_arrow(stored)), self.meta)
            if progress is not None:
                progress(done, len(self.files))
        if self.rows == 0:
            empty = self.schema.empty_table()
            none = np.empty((0, self.meta.space.dims), dtype=self.meta.dtype)
            yield EmbeddingTable(empty.append_column("embedding", to_arrow(none)), self.meta)
        self.meta = self.meta.replace(normalized=unit and self.rows > 0)
        self._check_unique(np.concatenate(hashes) if hashes else np.empty(0, dtype=np.uint64))

    def _pieces(self) -> Iterator[tuple[int, Piece]]:
        if self.options.cells is not None:
            rasters = [file for file in self.files if isinstance(file, RasterFile)]
            places, vectors, counts = means(rasters, self.options.cells, self.options.bbox)
            yield len(self.files), Piece(places, vectors, counts=counts)
            return
        for done, file in enumerate(self.files):
            # Stored components go through as they are only where the table decodes them in the same way.
            as_stored = self.meta.dtype == "int8" and file.codec is not None and self.meta.codec == file.codec
            for piece in file.pieces():
                if piece.vectors.dtype == np.int8 and not as_stored:
                    piece.vectors = decode(piece.vectors, file.codec)
                if len(piece.vectors) or piece.skipped or piece.counts:
                    yield done, piece

    def _stored(self, vectors: NDArray[Any]) -> NDArray[Any]:
        if vectors.dtype == np.int8:
            return np.ascontiguousarray(vectors)
        return encode(vectors, self.meta.dtype, self.meta.codec)[0]

    def _linear(self) -> dict[str, Any]:
        largest = 0.0
        for _, piece in self._pieces():
            largest = max(largest, float(np.abs(piece.vectors).max(initial=0.0)))
        return symmetric(largest)

    def _check_columns(self) -> None:
        first = self.files[0]
        for file in self.files[1:]:
            ours, theirs = (first.order, file.order) if first.order and file.order else _names(first, file)
            if ours != theirs:
                a, b = next(
                    pair for pair in zip((*ours, "(none)"), (*theirs, "(none)"), strict=False) if pair[0] != pair[1]
                )
                raise SchemaError(
                    f"{file.path}: its columns differ from those of {first.path}: {b!r} stands where {a!r} is "
                    "expected; import the files one by one"
                )

    def _meta(self) -> TableMeta:
        first, options = self.files[0], self.options
        for file in self.files[1:]:
            if file.dims != first.dims:
                raise SpaceMismatch(
                    f"vectors of two Spaces do not mix: {first.path} has {first.dims} dims, {file.path} has "
                    f"{file.dims}: import them into two tables"
                )
        spaces = [(file.path, file.own.space if file.own is not None else None, file.model) for file in self.files]
        if options.space is not None:
            space = Space.asserted(options.space, first.dims)
        else:
            space = _one_space(spaces, first.dims)
        base = first.own if first.own is not None else TableMeta(space, encoder=first.model)
        if len({file.own.tower if file.own is not None else "" for file in self.files}) > 1:
            raise SchemaError(f"{self.files[-1].path}: its vectors are of another tower than those of {first.path}")
        owns = [file.own for file in self.files if file.own is not None]
        codec = first.codec if all(file.codec == first.codec for file in self.files) else None
        wanted = options.dtype or ("int8" if codec is not None and first.own is None else "float32")
        return base.replace(
            space=space,
            dtype=wanted,
            codec=codec if wanted == "int8" else None,
            normalized=False,
            kind=first.kind,
            chip_layout=first.chip_layout,
            sources=tuple(dict.fromkeys(file.source() for file in self.files)),
            parents=tuple(dict.fromkeys(parent for file in self.files for parent in file.parents())),
            saw=inherit_saw(*(own.saw for own in owns)),
        )

    def _check_unique(self, hashes: NDArray[np.uint64]) -> None:
        values, counts = np.unique(hashes, return_counts=True)
        repeated = values[counts > 1]
        if len(repeated) == 0:
            return
        # A second look, for the names: this is not the common case.
        seen: dict[str, str] = {}
        for done, piece in self._pieces():
            ids = pa.concat_arrays([*piece.places["id"].chunks, pa.array([r.id for r in piece.skipped], pa.string())])
            for i in np.flatnonzero(np.isin(row_hashes(pa.table({"id": ids})), repeated)):
                name, path = ids[int(i)].as_py(), self.files[min(done, len(self.files) - 1)].path
                if name in seen:
                    where = f"twice in {path}" if seen[name] == path else f"in {seen[name]} and in {path}"
                    raise SchemaError(
                        f"the id {name!r} stands {where} ({len(repeated)} ids repeat): ids are unique; name another "
                        "column with --id"
                    )
                seen[name] = path
        raise SchemaError(f"{len(repeated)} hashes of ids collide; give longer ids")


def _names(first: ForeignFile, other: ForeignFile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(sorted(first.schema.names)), tuple(sorted(other.schema.names))


def _one_space(spaces: list[tuple[str, Space | None, str]], dims: int) -> Space:
    path, space, model = spaces[0]
    for other_path, other, other_model in spaces[1:]:
        if (space is None) != (other is None):
            raise SpaceMismatch(
                f"vectors of two Spaces do not mix: {path} and {other_path}, of which one names no Space; if they "
                "are of one model, say so with --space NAME"
            )
        if space is not None and other is not None:
            space.require(other, f"importing {path} with {other_path}")
        if model != other_model:
            raise SpaceMismatch(
                f"vectors of two Spaces do not mix: {path} is by {model or 'no named model'}, {other_path} by "
                f"{other_model or 'no named model'}; if they are one, say so with --space NAME"
            )
    return space if space is not None else Space.unknown(dims, note=model)


def read_foreign(
    paths: str | Path | Iterable[str | Path],
    *,
    crs: Any = None,
    space: str | None = None,
    id: str | None = None,
    lon: str | None = None,
    lat: str | None = None,
    geometry: str | None = None,
    vector: str | None = None,
    prefix: str = "dim_",
    dtype: str | None = None,
    delimiter: str | None = None,
    cells: Cells | str | None = None,
    bbox: Box | None = None,
) -> Imported:
    """Understand foreign tables: CSV, Parquet of any maker, AlphaEarth rasters, or tables of ours, by their content.

    Headers are read and checked now, rows when `Imported.table` or `Imported.batches` asks for them.

    Args:
        paths: files, or patterns such as "parts/*.csv". All must have the same columns.
        crs: what coordinates are in, where the file does not say: "EPSG:25830". A CSV with WKT needs it; columns called
            lon and lat are degrees of WGS84 without it.
        space: a name for the Space, for which the user vouches. Without it a foreign table has a Space of its own,
            `unknown`, and a table of ours keeps its Space.
        id: the column of ids. By default `id`, else ids are made: file name and row number.
        lon: the column of longitudes, or of x.
        lat: the column of latitudes, or of y.
        geometry: the column of geometries.
        vector: the column of vectors in Parquet.
        prefix: what the names of component columns begin with.
        dtype: float32 (default), float16 or int8; pixels of AlphaEarth stay int8 without it.
        delimiter: what separates the cells of a CSV.
        cells: rasters only: cells, or their name such as "h3:9", whose mean vectors are taken.
        bbox: rasters only: (west, south, east, north) in degrees.

    Raises:
        FormatError: empty, cut short, a pickle, not WKT, or of a form that is not read.
        SchemaError: duplicate ids, vectors that are ragged or not finite, columns that differ between files.
        CrsError: nobody says in what system coordinates are.
        CoordinateError: coordinates out of range, or swapped.
        SpaceMismatch: files of two Spaces, or of different dims.
        UsageError: an option names what does not exist, or a file is named twice.
    """
    options = Options(
        crs, space, id, lon, lat, geometry, vector, prefix, dtype, delimiter,
        parse_cells(cells) if isinstance(cells, str) else cells, bbox,
    )  # fmt: skip
    found = expand(paths)
    forms = [form_of(path) for path in found]
    return Imported([_open(*item, options) for item in zip(found, forms, _stems(found), strict=True)], options)


def _open(path: str, form: str, stem: str, options: Options) -> ForeignFile:
    if form == "raster":
        return RasterFile(path, stem, options)
    if options.cells is not None or options.bbox is not None:
        given = "--cells" if options.cells is not None else "--bbox"
        raise UsageError(f"{path}: {given} is for rasters, this is {form}: import it whole, then use its filters")
    if form == "csv":
        return CsvFile(path, stem, options)
    return LanceSource(path) if form == "lance" else ParquetSource(path, stem, options)


def _stems(paths: list[str]) -> list[str]:
    """What ids that are made begin with: the name of the file, with its folder where names repeat."""
    names = [Path(path.removesuffix(".gz")).stem for path in paths]
    return [
        f"{Path(path).parent.name}/{name}" if names.count(name) > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]
