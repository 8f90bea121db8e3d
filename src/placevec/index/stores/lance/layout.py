"""How a table stands in the dataset of a store, and the card that stands in the dataset's metadata.

Beside the columns of the table there are ``_hash`` (of a row's content, so that a load sees what changed) and ``_lon``
and ``_lat``, which have ordered indexes: of the RTREE over points that Lance has too, one without a point loses rows.
Vectors of int8 are decoded, for Lance knows no codec. Any reader of Lance can read such a dataset.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import FormatError, SchemaError, UsageError
from placevec.index.stores.base import StoreCard, Table
from placevec.index.stores.lance.dataset import VECTOR
from placevec.table import EmbeddingTable, Places
from placevec.table.embeddings import to_arrow
from placevec.table.fingerprint import row_hashes

CARD = b"placevec-store"
HASH, LON, LAT = "_hash", "_lon", "_lat"
OWN = (HASH, LON, LAT)
_NOT_KEPT = frozenset({"bbox", VECTOR})


def store_schema(table: Table, card: StoreCard) -> pa.Schema:
    """The schema of the dataset that holds `table`; SchemaError if a column has a name that the store needs."""
    stored = table.data.schema if isinstance(table, EmbeddingTable) else table.schema
    taken = [name for name in stored.names if name in OWN]
    if taken:
        raise SchemaError(f"the column {taken[0]!r} has a name that the store needs: rename it")
    fields = [_plain(field) for field in stored if field.name not in _NOT_KEPT]
    kind = pa.float16() if table.meta.dtype == "float16" else pa.float32()
    more = [pa.field(HASH, pa.int64()), pa.field(LON, pa.float64()), pa.field(LAT, pa.float64())]
    vector = pa.field(VECTOR, pa.list_(kind, table.space.dims))
    return pa.schema([*fields, *more, vector], metadata={CARD: json.dumps(card.to_json()).encode()})


def _plain(field: pa.Field) -> pa.Field:
    # Pieces of a file may have a dictionary each, and Lance wants one.
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, kind)


def columns_of(schema: pa.Schema) -> list[str]:
    """The columns of the table among those of its store."""
    return [name for name in schema.names if name not in (*OWN, VECTOR)]


def same_columns(there: pa.Schema, wanted: pa.Schema) -> bool:
    """Whether two stores have the same columns, in any order."""
    return {field.name: field.type for field in there} == {field.name: field.type for field in wanted}


def stored_rows(piece: EmbeddingTable, schema: pa.Schema) -> pa.Table:
    """Rows of a table as they stand in the dataset."""
    lon, lat = _points(piece)
    vectors = piece.vectors()
    kept = vectors.astype(np.float16) if schema.field(VECTOR).type.value_type == pa.float16() else vectors
    made = {
        HASH: pa.array(hashes_of(piece)),
        LON: pa.array(lon, mask=np.isnan(lon)),
        LAT: pa.array(lat, mask=np.isnan(lat)),
        VECTOR: to_arrow(kept),
    }
    columns = [
        made[field.name] if field.name in made else _cast(piece.data[field.name], field.type) for field in schema
    ]
    return pa.table(columns, schema=schema)


def hashes_of(piece: EmbeddingTable) -> NDArray[np.int64]:
    """A hash (n,) of all that stands in each row."""
    return row_hashes(piece.data).view(np.int64)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> Any:
    return pc.cast(column, kind) if column.type != kind else column


def _points(places: Places) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes in [-180, 180) and latitudes (n,), NaN where there is no geometry."""
    lon = places.lon
    odd = (lon >= 180.0) | (lon < -180.0)
    return np.where(odd, (lon + 180.0) % 360.0 - 180.0, lon), places.lat


def read_card(dataset: Any, url: str) -> StoreCard:
    """The card of a dataset.

    Raises:
        UsageError: placevec did not write it, or wrote it as a table.
        FormatError: it is damaged.
    """
    metadata = dataset.schema.metadata or {}
    if CARD not in metadata:
        what = "is a table, not a store: placevec did not load it" if b"emb" in metadata else "was not made by placevec"
        raise UsageError(f"{url} {what}; give another name, or --replace to drop what is there")
    try:
        return StoreCard.from_json(json.loads(metadata[CARD]))
    except ValueError as error:
        raise FormatError(f"the card of {url} is damaged ({error}): load it again with --replace") from None
