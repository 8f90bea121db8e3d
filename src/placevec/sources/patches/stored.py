"""PatchSet: patches that were written, read by row from memory-mapped files."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import FormatError, JobError, UsageError
from placevec.provenance import SourceRef, digest_json
from placevec.sources.base import Batch, Rows, check_rows
from placevec.sources.classes import ClassTable
from placevec.sources.patches.files import Part
from placevec.sources.patches.write import MANIFEST, read_manifest
from placevec.table import Places, Skipped, read_skipped

_OPEN = 256  # files that are mapped at once: each takes a handle


class StoredLayer:
    """A layer of a patch set: its name and class table, without its raster.

    Attributes:
        name: the key of its arrays in a batch.
        classes: its class table; None: values.
        resampling: how it was read.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self.name = str(given["name"])
        self.classes = None if given["classes"] is None else ClassTable.from_json(given["classes"])
        self.resampling = str(given["resampling"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a patch: uint8 for classes, float32 for values."""
        return np.dtype(np.float32 if self.classes is None else np.uint8)


class PatchSet:
    """A Source of patches that `write_patches` wrote.

    Args:
        folder: where.

    Attributes:
        layers: its layers, with name, classes, resampling and dtype.
        ground_m: side of the squares in metres.
        pixels: side of a patch in pixels.
        refs: where the rasters came from, for provenance; none in a set of an earlier placevec.
        counts: places asked for, patches written and places skipped.

    Raises:
        UsageError: there is none.
        JobError: it is not complete.
        FormatError: a file is damaged, or missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        found = read_manifest(self.folder)
        if found is None:
            raise UsageError(f"{self.folder} holds no patches (no {MANIFEST}); write them by `placevec area patches`")
        if not found.get("complete"):
            raise JobError(f"{self.folder} is not complete: run the same `placevec area patches` again, it goes on")
        try:
            self.layers = tuple(StoredLayer(one) for one in found["layers"])
            self.ground_m, self.pixels = float(found["ground_m"]), int(found["pixels"])
            self._files = [str(one["name"]) for one in found["files"]]
            self._ends = np.cumsum([int(one["rows"]) for one in found["files"]], dtype=np.int64)
            self.refs = tuple(SourceRef(**one) for one in found.get("sources", ()))
            self.counts = {str(name): int(count) for name, count in found["counts"].items()}
            self._identity = digest_json([found["key"], found["counts"]])[:32]
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{self.folder / MANIFEST} lacks {error}; write the patches again") from None
        self._parts: OrderedDict[int, Part] = OrderedDict()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __repr__(self) -> str:
        names = ", ".join(layer.name for layer in self.layers)
        return f"PatchSet({str(self.folder)!r}: {len(self):,} x {self.pixels} x {self.pixels}; {names})"

    def places(self) -> Places:
        """The places that have a patch, with the columns that they had."""
        return self._places

    def skipped(self) -> list[Skipped]:
        """The places that have none, with their reasons."""
        return read_skipped(self.folder / "patches")

    def fingerprint(self) -> str:
        """What tells this set from another."""
        return self._identity

    def read(self, rows: Rows) -> Batch:
        """Patches of `rows` in the order asked for, as `PatchSource.read` gives them."""
        rows = check_rows(rows, len(self))
        number = np.searchsorted(self._ends, rows, side="right")
        shape = (len(rows), self.pixels, self.pixels)
        data: dict[str, NDArray[Any]] = {layer.name: np.empty(shape, dtype=layer.dtype) for layer in self.layers}
        lonlat = np.empty((len(rows), 2))
        for one in np.unique(number).tolist():
            part = self._part(one)
            at = np.flatnonzero(number == one)
            inside = rows[at] - (self._ends[one] - len(part))
            for layer in self.layers:
                # Row by row where they lie: one copy, into its place.
                data[layer.name][at] = part.patches(layer.name)[inside]
            lonlat[at] = part.lonlat[inside]
        return Batch(rows, {**data, "lonlat": lonlat})

    @cached_property
    def _places(self) -> Places:
        names = [layer.name for layer in self.layers]
        tables = [self._part(one).places(names) for one in range(len(self._files))]
        if not tables:
            return Places.create([])
        return Places(pa.concat_tables(tables).combine_chunks())

    def _part(self, number: int) -> Part:
        if number in self._parts:
            self._parts.move_to_end(number)
            return self._parts[number]
        part = Part(self.folder / self._files[number])
        rows = self._ends[number] - (self._ends[number - 1] if number else 0)
        if len(part) != rows:
            raise FormatError(f"{part.path} has {len(part)} patches, not {rows}; write the patches again")
        self._parts[number] = part
        while len(self._parts) > _OPEN:
            self._parts.popitem(last=False)
        return part

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_parts": OrderedDict()}
