"""The sheets of a feed: CSV files in a zip or in a folder, read as columns of texts."""

from __future__ import annotations

import codecs
import csv
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from placevec.errors import FormatError, SchemaError

_BLOCK_BYTES = 16 << 20
_HEAD_BYTES = 1 << 16

MOST_BYTES = 16 << 30
"""A sheet that unpacks to more is refused: the timetable of a whole large country takes a few of these 16 GiB."""
MOST_RATIO = 300
"""Of bytes to packed bytes in sheets above 16 MiB. Timetables pack 10 to 40 times; a bomb a thousand times."""
_SMALL_BYTES = 16 << 20

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


class Archive:
    """The sheets (stops.txt, ...) of one feed. Nothing is ever unpacked to disk.

    Args:
        path: a zip, or a folder. The sheets may lie in a folder of it; the one nearest to the top with a stops.txt
            is taken.
        counts: what was left out, added to.
        notes: for people, added to.

    Raises:
        FormatError: there is no such file, it is no zip, or a sheet unpacks to more than is sane.
    """

    def __init__(self, path: str | Path, counts: Counter[str], notes: list[str]) -> None:
        self.path = Path(path)
        self.counts = counts
        self.notes = notes
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            names = [one.relative_to(self.path).as_posix() for one in self.path.rglob("*.txt")]
        else:
            names = self._open_zip()
        found = [PurePosixPath(name) for name in names if "__MACOSX" not in name]
        homes = sorted({one.parent for one in found if one.name.lower() == "stops.txt"}, key=lambda p: len(p.parts))
        home = homes[0] if homes else PurePosixPath(".")
        self._sheets = {one.name.lower(): str(one) for one in found if one.parent == home}
        if len(homes) > 1:
            notes.append(f"{self.path.name}: {len(homes)} folders hold a stops.txt; {home} was read")

    def _open_zip(self) -> list[str]:
        if not self.path.is_file():
            raise FormatError(f"{self.path}: no such feed; give a GTFS zip, or a folder of its .txt files")
        try:
            self._zip = zipfile.ZipFile(self.path)
        except _DAMAGED as error:
            raise FormatError(f"{self.path}: this is no zip, or a damaged one ({error})") from None
        for one in self._zip.infolist():
            # What is read of a member never exceeds its stated size: the module cuts it there.
            bomb = one.file_size > _SMALL_BYTES and one.file_size > MOST_RATIO * max(1, one.compress_size)
            if one.filename.lower().endswith(".txt") and (bomb or one.file_size > MOST_BYTES):
                raise FormatError(
                    f"{self.path}: {one.filename} would unpack from {one.compress_size:,} to {one.file_size:,} bytes, "
                    "which no timetable does: not read"
                )
        return self._zip.namelist()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def has(self, sheet: str) -> bool:
        """Whether there is a sheet, such as "stops.txt"."""
        return sheet in self._sheets

    def require(self, *sheets: str) -> None:
        """FormatError that names the first of the sheets that is not there."""
        for sheet in sheets:
            if not self.has(sheet):
                there = ", ".join(sorted(self._sheets)) or "no .txt at all"
                raise FormatError(f"{self.path}: the feed has no {sheet}, which GTFS asks for; it has {there[:200]}")

    def table(self, sheet: str, columns: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
        """Columns of a sheet as texts without white space around them; those `optional` that are absent are ""."""
        parts = list(self.batches(sheet, columns, optional))
        names = [*columns, *optional]
        schema = pa.schema([(name, pa.string()) for name in names])
        return pa.Table.from_batches(parts, schema=schema)

    def batches(self, sheet: str, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """The same, a block at a time.

        Raises:
            FormatError: the sheet is damaged.
            SchemaError: one of `columns` is absent.
        """
        encoding = self._encoding(sheet)
        head, names = self._header(sheet, encoding)
        missing = next((name for name in columns if name not in names), None)
        if missing is not None:
            raise SchemaError(
                f"{self.path}: {sheet} has no column {missing!r}; its columns are: {', '.join(names)[:200]}"
            )
        wanted = [*columns, *(name for name in optional if name in names)]
        for batch in self._parsed(sheet, encoding, head, names, wanted):
            rows = batch.num_rows
            yield pa.RecordBatch.from_arrays(
                [
                    pc.utf8_trim_whitespace(batch.column(name)) if name in wanted else pa.array([""] * rows)
                    for name in (*columns, *optional)
                ],
                names=[*columns, *optional],
            )

    def _parsed(
        self, sheet: str, encoding: str, head: int, names: list[str], wanted: list[str]
    ) -> Iterator[pa.RecordBatch]:
        def odd(row: Any) -> str:
            self.counts[f"rows of {sheet} with another number of cells than its header"] += 1
            return "skip"

        read = pacsv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names, encoding=encoding)
        parse = pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=odd)
        convert = pacsv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.string()),
            strings_can_be_null=False,
            check_utf8=encoding == "utf8",
        )
        try:
            with self._open(sheet) as handle:
                for _ in range(head):
                    handle.readline()
                with pacsv.open_csv(handle, read, parse, convert) as reader:
                    yield from reader
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise FormatError(f"{self.path}: {sheet} cannot be read ({str(error).splitlines()[0][:160]})") from None
        except (*_DAMAGED, ValueError) as error:
            raise FormatError(f"{self.path}: {sheet} is damaged ({error})") from None

    @contextmanager
    def _open(self, sheet: str) -> Iterator[IO[bytes]]:
        name = self._sheets[sheet]
        if self._zip is None:
            with (self.path / name).open("rb") as plain:
                yield plain
        else:
            with self._zip.open(name) as packed:
                yield packed

    def _encoding(self, sheet: str) -> str:
        """UTF-8, which GTFS asks for, else Latin-1: in that every byte is a letter."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            with self._open(sheet) as handle:
                first = True
                while block := handle.read(1 << 20):
                    if first and block[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                        raise FormatError(f"{self.path}: {sheet} is in UTF-16: convert it to UTF-8 first")
                    first = False
                    decoder.decode(block)
                decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            self.notes.append(f"{self.path.name}: {sheet} is not in UTF-8; it was read as Latin-1")
            return "latin-1"
        except _DAMAGED as error:
            raise FormatError(f"{self.path}: {sheet} is damaged ({error})") from None
        return "utf8"

    def _header(self, sheet: str, encoding: str) -> tuple[int, list[str]]:
        """How many lines end with the header, and its names, each once."""
        with self._open(sheet) as handle:
            lines = 1
            while not (line := handle.readline(_HEAD_BYTES)).strip():
                if not line:
                    raise FormatError(f"{self.path}: {sheet} is empty, without so much as a header")
                lines += 1
        text = line.removeprefix(codecs.BOM_UTF8).decode(encoding, "replace")
        names: list[str] = []
        for name in next(csv.reader([text.replace("\r", "")], skipinitialspace=True)):
            own = name.strip().lower()
            names.append(own if own not in names else f"{own} ({len(names)})")
        return lines, names
