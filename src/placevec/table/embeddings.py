"""EmbeddingTable: Places with a vector each, all of one Space. The contract of placevec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.geo.cells import are_cells
from placevec.provenance import Space, TableMeta, inherit_saw
from placevec.table.codec import NORM_TOLERANCE, decode, encode
from placevec.table.filter import Filter
from placevec.table.fingerprint import fingerprint
from placevec.table.places import Places, check_ids

_ARROW = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}
BATCH_ROWS = 16_384


class EmbeddingTable(Places):
    """Places and one vector each, in memory.

    Attributes:
        data: the columns of `Places` and `embedding`, a fixed-size list of float32, float16 or int8.
        meta: Space, codec and provenance.
    """

    def __init__(self, data: pa.Table, meta: TableMeta) -> None:
        super().__init__(data)
        self.meta = meta

    @classmethod
    def of(
        cls,
        places: Places,
        vectors: NDArray[Any],
        space: Space,
        *,
        dtype: str = "float32",
        normalized: bool | None = None,
        codec: Mapping[str, Any] | None = None,
        **meta: Any,
    ) -> EmbeddingTable:
        """A validated table of `places` (n) and `vectors` (n, d).

        Args:
            places: the rows.
            vectors: finite floats; or int8 in stored form, with `codec`.
            space: their Space, of d dims.
            dtype: how they are stored.
            normalized: whether they have length 1; found out if not said.
            codec: decodes int8, see `table.codec`.
            meta: further fields of `TableMeta`.

        Raises:
            SchemaError: vectors that are not finite, not (n, d), or not of length 1 though said to be.
        """
        if vectors.ndim != 2:
            raise SchemaError(f"vectors have the shape (n, d), these have {vectors.shape}")
        if len(vectors) != len(places):
            raise SchemaError(f"{len(vectors)} vectors for {len(places)} places")
        if vectors.shape[1] != space.dims:
            raise SchemaError(f"vectors of {vectors.shape[1]} components in a Space of {space.dims} dims")
        if vectors.dtype == np.int8:
            stored: NDArray[Any] = np.ascontiguousarray(vectors)
            used = codec
            dtype = "int8"
        else:
            check_finite(vectors, places.ids)
            stored, used = encode(vectors, dtype, codec)
        data = places.data
        if "embedding" in data.schema.names:
            data = data.drop_columns(["embedding"])
        data = data.append_column("embedding", to_arrow(stored))
        lengths = norms(decode(stored, used))
        unit = bool(len(lengths)) and bool((np.abs(lengths - 1.0) <= NORM_TOLERANCE[dtype]).all())
        if normalized and not unit and len(lengths):
            worst = int(np.argmax(np.abs(lengths - 1.0)))
            raise SchemaError(
                f"vectors are said to have length 1, but that of {places.ids[worst]!r} has {lengths[worst]:.4g}"
            )
        used_meta = TableMeta(
            space=space,
            dtype=dtype,
            codec=used,
            normalized=unit if normalized is None else normalized,
            **meta,
        )
        return cls(data, used_meta)

    @property
    def space(self) -> Space:
        """The Space of the vectors."""
        return self.meta.space

    @property
    def dims(self) -> int:
        """The number of components of a vector."""
        return self.meta.space.dims

    @property
    def raw(self) -> NDArray[Any]:
        """The stored components (n, d); a view without copying where the column is in one piece."""
        column = self.data["embedding"]
        if column.num_chunks == 1:
            return from_arrow(column.chunk(0))
        if column.num_chunks == 0:
            return np.empty((0, self.dims), dtype=self.meta.dtype)
        return np.concatenate([from_arrow(chunk) for chunk in column.chunks])

    def vectors(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """The decoded vectors (n, d), or those of some rows, as float32."""
        raw = self.raw if rows is None else self.raw[rows]
        return decode(raw, self.meta.codec)

    def fingerprint(self) -> str:
        """The fingerprint of the content; see `table.fingerprint`."""
        return fingerprint([self.data])

    def batches(
        self,
        columns: Sequence[str] | None = None,
        filter: Filter | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[EmbeddingTable]:
        """The table in pieces of at most `batch_rows` rows; `columns` names those wanted beside the vectors."""
        table = self if filter is None else self.select(filter)
        if columns is not None:
            table = table._with(table.data.select([n for n in table.data.schema.names if n in {*columns, "embedding"}]))
        for start in range(0, len(table), batch_rows):
            yield table._with(table.data.slice(start, batch_rows))

    def append(self, other: EmbeddingTable) -> EmbeddingTable:
        """The rows of both; attributes that one lacks are null there.

        Raises SpaceMismatch if the Spaces differ, SchemaError if ids repeat or the storage differs.
        """
        self.space.require(other.space, "appending")
        if (self.meta.tower, self.meta.dtype, self.meta.codec) != (
            other.meta.tower,
            other.meta.dtype,
            other.meta.codec,
        ):
            raise SchemaError(
                f"tables of {self.meta.dtype} by the tower {self.meta.tower!r} and {other.meta.dtype} by "
                f"{other.meta.tower!r} do not append: bring them to one form with `with_vectors`"
            )
        try:
            data = pa.concat_tables([self.data, other.data], promote_options="permissive")
        except pa.ArrowTypeError as error:
            raise SchemaError(f"the tables' columns do not fit: {str(error).splitlines()[0]}") from error
        check_ids(data["id"])
        meta = self.meta.replace(
            normalized=self.meta.normalized and other.meta.normalized,
            parents=tuple(dict.fromkeys((*self.meta.parents, *other.meta.parents))),
            sources=tuple(dict.fromkeys((*self.meta.sources, *other.meta.sources))),
            saw=inherit_saw(self.meta.saw, other.meta.saw),
        )
        return EmbeddingTable(data, meta)

    def with_vectors(
        self, vectors: NDArray[Any], space: Space, *, dtype: str = "float32", **meta: Any
    ) -> EmbeddingTable:
        """The same places with other vectors (n, d) of `space`; this table becomes their parent."""
        inherited = {"parents": (self.fingerprint(),), "saw": self.meta.saw, "sources": self.meta.sources}
        return EmbeddingTable.of(self.places(), vectors, space, dtype=dtype, **{**inherited, **meta})

    def places(self) -> Places:
        """The rows without their vectors."""
        return Places(self.data.drop_columns(["embedding"]))

    def validate(self) -> Self:
        """Check every promise of the contract; SchemaError names the first that is broken. Returns the table."""
        validate_schema(self.data.schema, self.meta)
        check_ids(self.data["id"])
        if self.data["embedding"].null_count:
            raise SchemaError("a row has no vector: rows that were not embedded belong to the skipped ones")
        vectors = self.vectors()
        check_finite(vectors, self.ids)
        if self.meta.normalized and len(self):
            lengths = norms(vectors)
            worst = int(np.argmax(np.abs(lengths - 1.0)))
            if abs(lengths[worst] - 1.0) > NORM_TOLERANCE[self.meta.dtype]:
                raise SchemaError(f"the vector of {self.ids[worst]!r} has length {lengths[worst]:.4g}, not 1")
        if self.has("h3"):
            cells = self.data["h3"].drop_null().to_numpy()
            valid = are_cells(cells)
            if not valid.all():
                raise SchemaError(f"the column `h3` holds {int(cells[np.argmin(valid)]):x}, which is no H3 cell")
        # Reading the centres parses every geometry; LonLat checks their range.
        self.lonlat(np.flatnonzero(self.located))
        return self

    def _with(self, data: pa.Table) -> Self:
        return type(self)(data, self.meta)


def validate_schema(schema: pa.Schema, meta: TableMeta) -> None:
    """SchemaError unless the columns are those of the contract and agree with `meta`."""
    for name in ("id", "geometry", "embedding"):
        if name not in schema.names:
            raise SchemaError(f"the column {name!r} is absent; the columns are: {', '.join(schema.names)}")
    kind = schema.field("embedding").type
    if not pa.types.is_fixed_size_list(kind):
        raise SchemaError(
            f"the column `embedding` has the type {kind}, not a list of fixed size: `placevec import` mends it"
        )
    if kind.list_size != meta.space.dims:
        raise SchemaError(f"vectors of {kind.list_size} components in a Space of {meta.space.dims} dims")
    if _ARROW.get(meta.dtype) != kind.value_type:
        raise SchemaError(f"vectors are stored as {kind.value_type}, the footer says {meta.dtype}")
    if "h3" in schema.names and schema.field("h3").type != pa.uint64():
        raise SchemaError(f"the column `h3` has the type {schema.field('h3').type}, not uint64")


def check_finite(vectors: NDArray[Any], ids: NDArray[Any]) -> None:
    """SchemaError, naming the first bad row, unless all components are finite."""
    # The sum of a row is finite only if all of it is (or it overflows, which is looked at again below).
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = np.flatnonzero(~np.isfinite(vectors.sum(axis=1, dtype=np.float64)))
    bad = suspect[~np.isfinite(vectors[suspect]).all(axis=1)]
    if len(bad):
        row = int(bad[0])
        value = vectors[row][~np.isfinite(vectors[row])][0]
        raise SchemaError(f"{len(bad)} vectors hold values that are not finite; the first is {ids[row]!r} ({value})")


def norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The Euclidean lengths (n,) of vectors (n, d)."""
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths


def to_arrow(stored: NDArray[Any]) -> pa.FixedSizeListArray:
    """Stored components (n, d) as a column, without copying."""
    flat = pa.array(np.ascontiguousarray(stored).reshape(-1), type=_ARROW[stored.dtype.name])
    return pa.FixedSizeListArray.from_arrays(flat, stored.shape[1])


def from_arrow(column: pa.FixedSizeListArray) -> NDArray[Any]:
    """The stored components (n, d) of a column, without copying."""
    d = column.type.list_size
    if column.null_count:
        raise SchemaError("a row has no vector: rows that were not embedded belong to the skipped ones")
    values = column.values.slice(column.offset * d, len(column) * d)
    return np.asarray(values.to_numpy(zero_copy_only=True)).reshape(len(column), d)
