"""The files of a patch set: uncompressed Arrow, so that a patch is read from the disk where it lies.

A file holds one record batch: the columns of the places (id, geometry, place, h3, attributes), `lon` and `lat`, and
for each layer a column of Arrow's canonical type for tensors (``arrow.fixed_shape_tensor``), uint8 or float32. Mapped
into memory, a column of patches is one numpy array, without a copy or a parse. The places of the file that were
skipped stand in its metadata: a file is whole or it is not there, and accounts for all of its places.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import FormatError
from placevec.files import whole
from placevec.table import Places, Skipped

KEY = b"placevec-patches"
SKIPPED = b"placevec-skipped"


def write_part(
    path: Path, places: Places, layers: Mapping[str, NDArray[Any]], skipped: Sequence[Skipped], key: str
) -> None:
    """Write the patches of some places, with those of the same part that were skipped; whole or not at all."""
    columns = {name: places.data[name].combine_chunks() for name in places.data.schema.names}
    columns |= {"lon": pa.array(places.lon), "lat": pa.array(places.lat)}
    columns |= {name: _tensors(patches) for name, patches in layers.items()}
    lost = [[one.id, one.stage, one.reason, None if one.geometry is None else one.geometry.hex()] for one in skipped]
    table = pa.table(columns).replace_schema_metadata({KEY: key.encode(), SKIPPED: json.dumps(lost).encode()})
    with whole(path) as part, pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, table.num_rows))


class Part:
    """A file of a patch set, mapped into memory.

    Raises:
        FormatError: it is not one, or was damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: dict[str, NDArray[Any]] = {}
        try:
            with pa.memory_map(str(path)) as source:
                self._table = pa.ipc.open_file(source).read_all()
            self.metadata: dict[bytes, bytes] = dict(self._table.schema.metadata or {})
            self.key = self.metadata[KEY].decode()
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise FormatError(f"{path} is no file of patches ({error}); write the patches again") from None

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def skipped(self) -> list[Skipped]:
        """The places of this part that were skipped."""
        rows = json.loads(self.metadata[SKIPPED])
        return [Skipped(i, stage, why, None if g is None else bytes.fromhex(g)) for i, stage, why, g in rows]

    def places(self, layers: Sequence[str]) -> pa.Table:
        """The columns of the places."""
        return self._table.drop_columns([*layers, "lon", "lat"]).replace_schema_metadata(None)

    @cached_property
    def lonlat(self) -> NDArray[np.float64]:
        """Longitude and latitude (n, 2)."""
        return np.stack([self._table["lon"].to_numpy(), self._table["lat"].to_numpy()], axis=1)

    def patches(self, layer: str) -> NDArray[Any]:
        """All patches (n, pixels, pixels) of a layer, as they lie on the disk: nothing is read before it is used."""
        if layer not in self._arrays:
            column = self._table[layer]
            kind = column.type
            if len(self):
                (chunk,) = column.chunks
                flat = chunk.storage.flatten().to_numpy(zero_copy_only=True)
            else:
                flat = np.zeros(0, dtype=kind.value_type.to_pandas_dtype())
            self._arrays[layer] = flat.reshape(len(self), *kind.shape)
        return self._arrays[layer]


def _tensors(patches: NDArray[Any]) -> pa.ExtensionArray:
    size = int(np.prod(patches.shape[1:]))
    flat = pa.array(np.ascontiguousarray(patches).reshape(-1))
    kind = pa.fixed_shape_tensor(flat.type, patches.shape[1:])
    return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, size))
