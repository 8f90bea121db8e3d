"""CSV files: one column for each component, and WKT or two columns of coordinates; read in blocks."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from placevec.errors import FormatError, SchemaError
from placevec.sources.tables.layout import Layout, plan
from placevec.sources.tables.options import Options
from placevec.sources.tables.piece import ForeignFile, Piece
from placevec.sources.tables.place import Where, missing_crs, system
from placevec.sources.tables.vectors import component_columns, from_components

_BLOCK_BYTES = 2 << 20  # pyarrow reads up to some sixteen blocks ahead
_GEOMETRIES = ("geometry", "wkt", "geom", "the_geom", "wkt_geom")
_LON, _LAT = ("lon", "longitude", "lng", "long"), ("lat", "latitude")
# Tried in this order: the first that holds every value of a column is its type.
_TYPES = (
    pa.int64(),
    pa.uint64(),
    pa.float64(),
    pa.bool_(),
    pa.date32(),
    pa.timestamp("us", "UTC"),
    pa.timestamp("us"),
)
_PADDED = r"^[-+]?0[0-9]"


class CsvFile(ForeignFile):
    """A CSV file in UTF-8, plain or gzipped, with a header.

    An empty cell is an absent value, a quoted empty text is a text; "NA" and "null" are texts. A column of numbers
    that are padded with zeros (007) stays text.
    """

    def __init__(self, path: str, stem: str, options: Options) -> None:
        self.path = path
        self.notes = []
        self.order = ()
        try:
            header = _header(path)
        except (OSError, EOFError, zlib.error) as error:
            self._explain(error)
        self._delimiter = options.delimiter or max(",;\t|", key=header.count)
        names = self._read_names()
        self.order = tuple(names)
        self._components = component_columns(names, options.prefix, path)
        if not self._components:
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise SchemaError(
                f"{path}: no column {options.prefix}0, {options.prefix}1 … holds vectors; the columns are: "
                f"{shown[:200]}; name their beginning with --prefix"
            )
        self.dims = len(self._components)
        where = csv_where(path, names, options)
        known = {*self._components, *where.columns}
        others = [name for name in names if name not in known]
        types = self._types(others)
        fields = [(name, types.get(name, pa.string())) for name in names if name not in self._components]
        if options.id is not None:
            options.column("id", options.id, names, path)
        # Ids are what is written, leading zeros and all.
        ids = options.id or "id"
        fields = [(name, pa.string() if name == ids else kind) for name, kind in fields]
        self._layout: Layout = plan(path, stem, pa.schema(fields), where, options, set())
        self._kinds = dict(fields)
        self.schema = self._layout.schema
        self.notes += self._layout.notes

    @property
    def bytes(self) -> int:
        """About how much memory all rows take."""
        size = Path(self.path).stat().st_size
        return size * 3 if self.path.endswith(".gz") else size

    def pieces(self) -> Iterator[Piece]:
        """The rows in the order of the file, a block at a time."""
        first = 0
        for data in self._blocks([*self._layout.needed, *self._components]):
            vectors = from_components(data, self._components, self.path, first)
            typed = self._typed(data.drop_columns(self._components))
            yield Piece(self._layout.places(typed, first), vectors)
            first += data.num_rows

    def _typed(self, data: pa.Table) -> pa.Table:
        for i, name in enumerate(data.schema.names):
            if self._kinds.get(name, pa.string()) != pa.string():
                data = data.set_column(i, name, data[name].cast(self._kinds[name]))
        return data

    def _read_names(self) -> list[str]:
        try:
            with self._open([]) as reader:
                names = [str(name) for name in reader.schema.names]
        except UnicodeDecodeError:
            raise FormatError(f"{self.path}: the names of the columns are not UTF-8") from None
        except (pa.ArrowInvalid, OSError, EOFError, zlib.error) as error:
            self._explain(error)
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise SchemaError(f"{self.path}: two columns are called {repeated[0]!r}: give each its own name")
        return names

    def _types(self, names: list[str]) -> dict[str, pa.DataType]:
        """The type of each attribute over the whole file: a first block can look whole where a later one is not."""
        able = {name: list(_TYPES) for name in names}
        filled: set[str] = set()
        if not names:
            return {}
        for data in self._blocks(names):
            for name in names:
                column = data[name]
                if column.null_count == len(column):
                    continue
                filled.add(name)
                if not able[name]:
                    continue
                if pc.any(pc.match_substring_regex(column, _PADDED)).as_py() and pa.int64() in able[name]:
                    able[name] = []
                able[name] = [kind for kind in able[name] if _casts(column, kind)]
        return {name: (able[name] or [pa.string()])[0] if name in filled else pa.string() for name in names}

    def _blocks(self, names: list[str]) -> Iterator[pa.Table]:
        columns = list(dict.fromkeys(names))
        try:
            with self._open(columns) as reader:
                for batch in reader:
                    data = pa.Table.from_batches([batch])
                    _check_utf8(data, self.path)
                    yield data
        except (pa.ArrowInvalid, OSError, EOFError, zlib.error) as error:
            self._explain(error)

    def _open(self, columns: list[str]) -> Any:
        components = set(getattr(self, "_components", ()))
        types = {name: pa.float32() if name in components else pa.string() for name in columns}
        return pacsv.open_csv(
            gzip.open(self.path, "rb") if _is_gzip(self.path) else self.path,
            read_options=pacsv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            parse_options=pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=columns,
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )

    def _explain(self, error: Exception) -> NoReturn:
        text = str(error).splitlines()[0]
        if match := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", text):
            raise SchemaError(
                f"{self.path}: ragged rows: line {match[1]} has {match[3]} cells, the header {match[2]}: mend or leave "
                "out that line"
            ) from None
        if match := re.search(r"Expected (\d+) columns, got (\d+)", text):
            raise SchemaError(
                f"{self.path}: ragged rows: one has {match[2]} cells, the header {match[1]}: mend or leave out "
                "that line"
            ) from None
        if match := re.search(r"CSV column #(\d+):(?: Row #(\d+):)?.*invalid value '(.*)'", text):
            name = self.order[int(match[1])] if int(match[1]) < len(self.order) else f"number {match[1]}"
            line = f" in line {match[2]}" if match[2] else ""
            raise SchemaError(
                f"{self.path}: the column {name!r} holds {match[3][:60]!r}{line}, which is no number: mend it"
            ) from None
        raise FormatError(f"{self.path}: the CSV cannot be read: {text[:200]}") from None


def csv_where(path: str, names: list[str], options: Options) -> Where:
    """How a CSV with columns `names` says where its rows are; CrsError for WKT of which nobody says the system."""
    lowered = {name.lower(): name for name in reversed(names)}
    if options.lon is not None and options.lat is not None:
        xy = (options.column("lon", options.lon, names, path), options.column("lat", options.lat, names, path))
        return Where("xy", xy, None if options.crs is None else system(options.crs, "--crs", path))
    wkt = options.column("geometry", options.geometry, names, path) if options.geometry else None
    wkt = wkt or next((lowered[name] for name in _GEOMETRIES if name in lowered), None)
    if wkt is not None:
        if options.crs is None:
            raise missing_crs(path, f"WKT in the column {wkt!r}")
        return Where("wkt", (wkt,), system(options.crs, "--crs", path))
    lon = next((lowered[name] for name in _LON if name in lowered), None)
    lat = next((lowered[name] for name in _LAT if name in lowered), None)
    if lon is not None and lat is not None:
        # By their names these are degrees of longitude and latitude; --crs says otherwise.
        return Where("xy", (lon, lat), None if options.crs is None else system(options.crs, "--crs", path))
    if options.crs is not None:
        raise SchemaError(
            f"{path}: no column says where the rows are (geometry, or lon and lat); name them with --geometry, or "
            "--lon and --lat"
        )
    return Where("none")


def _header(path: str) -> str:
    opener: Any = gzip.open if _is_gzip(path) else open
    with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as handle:
        for line in iter(lambda: handle.readline(1 << 20), ""):
            if line.strip():
                return str(line)
    return ""


def _is_gzip(path: str) -> bool:
    with Path(path).open("rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def _casts(column: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        column.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _check_utf8(data: pa.Table, path: str) -> None:
    for name in data.schema.names:
        if not pa.types.is_string(data[name].type):
            continue
        try:
            data[name].validate(full=True)
        except pa.ArrowInvalid:
            raise FormatError(f"{path}: the column {name!r} is not in UTF-8: convert the file with iconv") from None
