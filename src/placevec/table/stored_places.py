"""Places in one Parquet file, written and read part by part: more of them than memory holds.

A part is a row group. The file is GeoParquet 1.1 without a covering, with the footer ``placevec-places``: the keys of
the parts and the fingerprint of the content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from placevec.errors import FormatError, SchemaError
from placevec.files import leave, whole
from placevec.objects import Remote, fetched, located
from placevec.table.fingerprint import Fingerprint
from placevec.table.geometry import centres, geometry_types
from placevec.table.parquet import geo_footer, open_parquet
from placevec.table.places import Places

FOOTER = "placevec-places"


class PlacesPart(NamedTuple):
    """A run of rows that are read together.

    Attributes:
        name: unique in the file, such as "part-00012".
        start: the first row.
        stop: one past the last row.
        key: what the rows have in common, such as the parent of H3 cells in hexadecimal; "" where nothing.
    """

    name: str
    start: int
    stop: int
    key: str


class PlacesSink:
    """Writes places part by part; the file appears when all are written, or not at all.

    That ids are unique across parts is the writer's to see to: they are not kept, so that memory holds one part.

    Args:
        path: a Parquet file.

    Attributes:
        footers: entries of the file's footer, by name; may be added to until the end.
        fingerprint: of the rows written so far.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.footers: dict[str, str] = {}
        self.fingerprint = Fingerprint()
        self._whole = whole(self.path)
        self._file: Path | None = None
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None
        self._keys: list[str] = []
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self._kinds: set[str] = set()

    def __enter__(self) -> PlacesSink:
        self._file = self._whole.__enter__()
        return self

    @property
    def parts(self) -> int:
        """How many parts were written."""
        return len(self._keys)

    def write(self, places: Places, key: str = "") -> None:
        """Add a part; one without rows says what the columns are, and leaves no part behind.

        Raises:
            SchemaError: its columns are not those of the parts before it.
        """
        data = places.data.combine_chunks()
        if self._writer is None:
            self._schema = data.schema.remove_metadata()
            texts = [f.name for f in self._schema if pa.types.is_string(f.type) and f.name != "id"]
            self._writer = pq.ParquetWriter(
                self._file, self._schema, compression="zstd", use_dictionary=texts, write_statistics=["h3"]
            )
        assert self._schema is not None
        try:
            data = data.select(self._schema.names).cast(self._schema)
        except (KeyError, pa.ArrowInvalid, ValueError) as error:
            raise SchemaError(f"the parts of {self.path.name} have different columns: {error}") from error
        if data.num_rows == 0:
            return
        self.fingerprint.update(data)
        lon, lat = centres(data["geometry"])
        if not np.isnan(lon).all():
            self._bounds[:2] = np.fmin(self._bounds[:2], [np.nanmin(lon), np.nanmin(lat)])
            self._bounds[2:] = np.fmax(self._bounds[2:], [np.nanmax(lon), np.nanmax(lat)])
            self._kinds |= geometry_types(data["geometry"])
        self._writer.write_table(data, row_group_size=data.num_rows)
        self._keys.append(key)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        def finish() -> None:
            if kind is None:
                self._finish()
            elif self._writer is not None:
                self._writer.close()

        leave(self._whole, finish, kind, error, trace)

    def _finish(self) -> None:
        if self._writer is None:
            raise SchemaError(f"nothing was written to {self.path.name}: write a part without rows to say its columns")
        geo = geo_footer(self._bounds, self._kinds)
        del geo["columns"]["geometry"]["covering"]  # points are their own boxes
        own = {"version": 1, "keys": self._keys, "fingerprint": str(self.fingerprint)}
        self._writer.add_key_value_metadata({"geo": json.dumps(geo), FOOTER: json.dumps(own), **self.footers})
        self._writer.close()


class StoredPlaces:
    """Places in a file of `PlacesSink`, of which the parts asked for are read.

    Args:
        path: the file; one of object storage (s3://) is copied here once, and again when it changes.

    Raises:
        FormatError: it is no whole Parquet file, or was not written part by part.
    """

    def __init__(self, path: str | Path | Remote) -> None:
        self.path = located(path)
        self._file, self._footer = open_parquet(fetched(path))
        meta = self._file.metadata
        try:
            own = json.loads(self._footer[FOOTER.encode()])
            keys, self._fingerprint = [str(key) for key in own["keys"]], str(own["fingerprint"])
        except (KeyError, ValueError, TypeError):
            raise FormatError(
                f"{path} does not hold places in parts (no footer {FOOTER}); write it with `placevec area stencil`"
            ) from None
        groups = [row for row in range(meta.num_row_groups) if meta.row_group(row).num_rows]
        if len(keys) != len(groups):
            raise FormatError(f"{path} has {len(groups)} row groups and {len(keys)} keys of parts; make it again")
        self._groups = groups
        starts = np.cumsum([0, *(meta.row_group(row).num_rows for row in groups)]).tolist()
        self.parts: tuple[PlacesPart, ...] = tuple(
            PlacesPart(f"part-{i:06d}", starts[i], starts[i + 1], key) for i, key in enumerate(keys)
        )
        self.schema: pa.Schema = self._file.schema_arrow.remove_metadata()

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredPlaces, (str(self.path),)

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"StoredPlaces({str(self.path)!r}: {self.num_rows:,} rows in {len(self.parts):,} parts)"

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return int(self._file.metadata.num_rows)

    @property
    def footer(self) -> Mapping[bytes, bytes]:
        """The entries of the file's footer."""
        return self._footer

    @cached_property
    def _starts(self) -> list[int]:
        return [part.start for part in self.parts]

    def read(self, start: int, stop: int) -> Places:
        """The rows from `start` to `stop`, one past the last; only the parts that hold some are read.

        Raises:
            SchemaError: there are no such rows.
            FormatError: the file is damaged there.
        """
        if not 0 <= start <= stop <= self.num_rows:
            raise SchemaError(f"rows {start} to {stop} of {self.path}, which has {self.num_rows:,}")
        if start == stop:
            return self.template()
        first, last = np.searchsorted(self._starts, (start, stop - 1), side="right") - 1
        try:
            data = self._file.read_row_groups([self._groups[i] for i in range(first, last + 1)])
        except (pa.ArrowException, OSError) as error:
            raise FormatError(
                f"{self.path}: rows {start} to {stop} cannot be read ({str(error).splitlines()[0]}); make it again"
            ) from None
        data = data.replace_schema_metadata(None).slice(start - self.parts[first].start, stop - start)
        return Places(data.combine_chunks())

    def places(self) -> Places:
        """All rows, in memory."""
        return self.read(0, self.num_rows)

    def template(self) -> Places:
        """No rows, all columns."""
        return Places(self.schema.empty_table())

    def fingerprint(self) -> str:
        """The fingerprint of the content, as counted when it was written."""
        return self._fingerprint
