"""A RemoteFile as GDAL opens it: rasterio's container of Python files."""

from __future__ import annotations

import contextvars
import io
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import rasterio
from rasterio.abc import FileContainer

from placevec.errors import DataError
from placevec.sources.remote.file import RemoteFile


class Opener:
    """What rasterio.open takes as its `opener`: it knows one file, and no neighbours of it.

    Args:
        file: the file.

    Attributes:
        name: by which GDAL opens it.
        failure: the last error of a read; GDAL itself reports another one, or none.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.name = PurePosixPath(urlsplit(file.address).path).name or "raster"
        self.failure: DataError | None = None
        self._file = file

    def open(self, path: str, mode: str = "r", **options: Any) -> io.RawIOBase:
        """The file at its beginning; FileNotFoundError for any other name."""
        if path != self.name:
            raise FileNotFoundError(path)
        return _Handle(self, self._file)

    def isfile(self, path: str) -> bool:
        """Whether it is the file."""
        return path == self.name

    def isdir(self, path: str) -> bool:
        """There is no folder."""
        return False

    def ls(self, path: str) -> list[str]:
        """There are no neighbours."""
        return []

    def mtime(self, path: str) -> int:
        """GDAL does not need it."""
        return 0

    def rm(self, path: str) -> None:
        """Nothing is removed."""

    def size(self, path: str) -> int:
        """Bytes."""
        return self._file.size


FileContainer.register(Opener)


class RemoteDataset:
    """A dataset of rasterio over a remote file.

    rasterio looks openers up in variables of the context in which it is called: one that is read, or closed by the
    garbage collector, in another thread would find none. So each dataset has a context of its own, and all that is
    asked of it happens there.

    Args:
        opener: through which it reads.
        options: of rasterio.open, such as ``overview_level``.
    """

    def __init__(self, opener: Opener, **options: Any) -> None:
        self._context = contextvars.Context()
        self._dataset = self._context.run(rasterio.open, opener.name, opener=opener, sharing=False, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._context.run(getattr, self._dataset, name)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._context.run(value, *args, **kwargs)

    def __del__(self) -> None:
        dataset = self.__dict__.get("_dataset")
        if dataset is not None:
            with suppress(Exception):  # the interpreter may be ending
                self._context.run(dataset.close)


class _Handle(io.RawIOBase):
    def __init__(self, opener: Opener, file: RemoteFile) -> None:
        super().__init__()
        self._opener, self._file, self._at = opener, file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._file.size if size < 0 else self._at + size
        try:
            data = self._file.read(self._at, stop)
        except DataError as error:
            # An exception would be lost in GDAL: a short read makes it stop, and the reader asks for the reason.
            self._opener.failure = error
            return b""
        self._at += len(data)
        return data
