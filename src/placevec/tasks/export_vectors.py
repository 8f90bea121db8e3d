"""Vectors as plain arrays for other programs: .npy, .safetensors and .pt, streamed, written whole or not at all.

- npy: (n, d) float32, and beside it ``NAME.places.csv`` (id, lon, lat, in the order of the rows) and ``NAME.json``.
- safetensors: tensors `embedding` (n, d) float32, `lon` and `lat` (n,) float64, and the ids as Arrow keeps texts:
  `id_bytes` (UTF-8, one after the other) and `id_offsets` (n + 1,) int64; what the vectors are stands in the metadata.
- torch: a dict that ``torch.load(weights_only=True)`` reads: `embedding`, `lon`, `lat`, `ids` (list), `meta` (dict).

lon and lat are degrees, NaN where a row has no geometry; int8 and float16 are written decoded. Of an EmbeddingGrid the
.npy is (rows, columns, d), north up as in the file, NaN where there is no value, and ``NAME.json`` says where it lies.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.files import new_array, whole
from placevec.provenance import TableMeta
from placevec.registry import need
from placevec.table import Filter, StoredTable

VECTOR_FORMS = ("npy", "safetensors", "torch")
BATCH_ROWS = 4096  # read at a time: at 1,024 components 16 MB
_TORCH = {"extra": "torch", "purpose": "writing a file of torch"}
_ALIGN = 8  # the format asks that data begin at a multiple of 8 bytes


@dataclass(frozen=True)
class _Piece:
    """Rows of a table: vectors (k, d) float32, lon and lat (k,) float64, and ids."""

    vectors: NDArray[np.float32]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    ids: list[str]


def export_vectors(stored: StoredTable, out: str | Path, form: str, filter: Filter | None = None) -> int:
    """Write the vectors of the rows that pass `filter` to `out`, with their ids and coordinates; returns the rows.

    Args:
        stored: the table.
        out: the file.
        form: one of `VECTOR_FORMS`.
        filter: which rows; all by default.

    Raises:
        UsageError: an unknown form.
        MissingExtra: torch is not installed, for "torch".
    """
    if form not in VECTOR_FORMS:
        raise UsageError(f"there is no form {form!r} of vectors; choose one of {', '.join(VECTOR_FORMS)}")
    if form == "torch":
        need("torch", **_TORCH)
    rows = stored.num_rows if filter is None else len(stored.resolve(filter)[0])
    meta = {**described(stored.meta), "fingerprint": stored.fingerprint(), "rows": rows}
    pieces = _pieces(stored, filter)
    goal = Path(out)
    if form == "npy":
        _write_npy(pieces, goal, (rows, stored.dims), meta)
    elif form == "safetensors":
        _write_safetensors(pieces, goal, (rows, stored.dims), meta)
    else:
        _write_torch(pieces, goal, (rows, stored.dims), meta)
    return rows


def export_grid(grid: str | Path, out: str | Path) -> int:
    """Write an EmbeddingGrid (.tif) as .npy (rows, columns, d) float32, with ``NAME.json``; returns the pixels written.

    Raises:
        FormatError: the raster is no EmbeddingGrid.
    """
    from placevec.grid import EmbeddingGrid

    raster = EmbeddingGrid(grid)
    rasterio = need("rasterio", extra="raster", purpose="reading an EmbeddingGrid")
    with rasterio.open(str(grid)) as opened:
        transform = [float(value) for value in opened.transform[:6]]
    goal = Path(out)
    meta = {
        **described(raster.meta),
        "axes": ["row", "column", "component"],
        "crs": raster.crs.to_string(),
        # x = a·column + b·row + c, y = d·column + e·row + f, at the upper left corner of a pixel
        "transform": transform,
    }
    pixels = 0
    with whole(_beside(goal, ".json")) as card, _array(goal, (*raster.shape, raster.space.dims)) as array:
        _json(card, meta)
        for start in range(0, raster.shape[0], 256):
            array[start : start + 256] = np.nan
        for window in raster.windows():
            array[window.rows, window.columns] = window.vectors
            pixels += len(window.vectors)
    return pixels


def described(meta: TableMeta) -> dict[str, Any]:
    """What the vectors are, as JSON."""
    return {
        "space": meta.space.to_json(),
        "tower": meta.tower,
        "normalized": meta.normalized,
        "encoder": meta.encoder,
        "weights_sha256": meta.weights_sha256,
        "dims": list(meta.dims),
    }


def _pieces(stored: StoredTable, filter: Filter | None) -> Iterator[_Piece]:
    for batch in stored.batches(["id", "geometry"], filter, BATCH_ROWS):
        vectors = np.ascontiguousarray(batch.vectors(), dtype="<f4")
        yield _Piece(vectors, batch.lon, batch.lat, [str(name) for name in batch.ids])


def _write_npy(pieces: Iterable[_Piece], goal: Path, shape: tuple[int, int], meta: dict[str, Any]) -> None:
    with ExitStack() as stack:
        # What is beside is put in place last of all, so that the array never stands with the places of another.
        places = stack.enter_context(whole(_beside(goal, ".places.csv")))
        card = stack.enter_context(whole(_beside(goal, ".json")))
        _json(card, meta)
        array = stack.enter_context(_array(goal, shape))
        text = stack.enter_context(places.open("w", encoding="utf-8", newline=""))
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "lon", "lat"])
        start = 0
        for piece in pieces:
            start = _put(array, piece.vectors, start)
            pairs = zip(piece.ids, piece.lon.tolist(), piece.lat.tolist(), strict=True)
            writer.writerows(
                [name, *("" if value != value else repr(value) for value in pair)] for name, *pair in pairs
            )
        _complete(goal, start, shape[0])


def _write_safetensors(pieces: Iterable[_Piece], goal: Path, shape: tuple[int, int], meta: dict[str, Any]) -> None:
    """The format is a length, a JSON header and the data (github.com/huggingface/safetensors, "Format").

    Its own library wants all tensors in memory at once, and torch or numpy beside it; so it is written here.
    """
    rows, dims = shape
    with whole(goal) as part:
        vectors = part.with_name(f"{part.name}-vectors")
        try:
            lon, lat, offsets, names, start = [], [], [np.zeros(1, np.int64)], bytearray(), 0
            with vectors.open("wb") as out:
                for piece in pieces:
                    piece.vectors.tofile(out)
                    encoded = [name.encode() for name in piece.ids]
                    lon.append(piece.lon)
                    lat.append(piece.lat)
                    offsets.append(len(names) + np.cumsum([len(name) for name in encoded], dtype=np.int64))
                    names.extend(b"".join(encoded))
                    start += len(piece.ids)
            _complete(goal, start, rows)
            small: dict[str, NDArray[Any]] = {
                "lon": np.concatenate([np.empty(0), *lon]).astype("<f8"),
                "lat": np.concatenate([np.empty(0), *lat]).astype("<f8"),
                "id_offsets": np.concatenate(offsets).astype("<i8"),
                "id_bytes": np.frombuffer(bytes(names), np.uint8),
            }
            _safetensors(part, vectors, (rows, dims), small, meta)
        finally:
            vectors.unlink(missing_ok=True)


def _safetensors(
    part: Path, vectors: Path, shape: tuple[int, int], small: dict[str, NDArray[Any]], meta: dict[str, Any]
) -> None:
    kinds = {"f4": "F32", "f8": "F64", "i8": "I64", "u1": "U8"}
    # Data of 8 bytes a value first, so that each tensor begins at a multiple of what its values take.
    header: dict[str, Any] = {"__metadata__": {"format": "placevec", "placevec": json.dumps(meta, ensure_ascii=False)}}
    end = 0
    order = ["lon", "lat", "id_offsets", "embedding", "id_bytes"]
    for name in order:
        value = small.get(name)
        kind = "F32" if value is None else kinds[value.dtype.str[1:]]
        sides = shape if value is None else value.shape
        size = 4 * shape[0] * shape[1] if value is None else value.nbytes
        header[name] = {"dtype": kind, "shape": list(sides), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGN)
    with part.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            if name in small:
                small[name].tofile(out)
                continue
            with vectors.open("rb") as data:
                while block := data.read(1 << 22):
                    out.write(block)


def _write_torch(pieces: Iterable[_Piece], goal: Path, shape: tuple[int, int], meta: dict[str, Any]) -> None:
    torch = need("torch", **_TORCH)
    with whole(goal) as part:
        held = part.with_name(f"{part.name}-vectors")
        try:
            # Vectors wait in a file that is mapped, not in memory; torch writes them from there.
            array = new_array(held, np.float32, shape)
            lon, lat, ids, start = np.full(shape[0], np.nan), np.full(shape[0], np.nan), list[str](), 0
            for piece in pieces:
                lon[start : start + len(piece.ids)] = piece.lon
                lat[start : start + len(piece.ids)] = piece.lat
                ids += piece.ids
                start = _put(array, piece.vectors, start)
            _complete(goal, start, shape[0])
            content = {
                "embedding": torch.from_numpy(array),
                "lon": torch.from_numpy(lon),
                "lat": torch.from_numpy(lat),
                "ids": ids,
                "meta": meta,
            }
            torch.save(content, part)
        finally:
            held.unlink(missing_ok=True)


@contextmanager
def _array(goal: Path, shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """An array in a file that becomes `goal` when all went well."""
    with whole(goal) as part:
        array = new_array(part, np.dtype("<f4"), shape)
        yield array
        array.flush()


def _put(array: NDArray[np.float32], vectors: NDArray[np.float32], start: int) -> int:
    if start + len(vectors) > len(array):
        raise DataError("the table grew while it was read: export it again")
    array[start : start + len(vectors)] = vectors
    return start + len(vectors)


def _complete(goal: Path, found: int, rows: int) -> None:
    if found != rows:
        raise DataError(f"{goal}: {found} of {rows} rows were read, the table changed meanwhile: export it again")


def _beside(goal: Path, ending: str) -> Path:
    return goal.with_name(f"{goal.stem}{ending}")


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
