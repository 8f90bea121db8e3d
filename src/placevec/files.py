"""Files that are written whole or not at all.

Everything placevec writes goes to a temporary name beside its goal and is renamed when it is complete, so that a
kill, a full disk or an error leaves either the old file or the new one, never half of one.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from placevec.errors import UsageError

PART = ".part-"  # in the name of everything unfinished, so that leftovers of a kill can be told and removed


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move what was written there to `path` on success, remove it on error.

    Works for a file and for a folder. An existing file is replaced at once; an existing folder is moved aside
    first, so that for an instant neither stands there. What a killed process of this machine left of an earlier
    attempt at the same path is removed.

    Raises:
        UsageError: a file stands where a folder is wanted, or a folder where a file is.
    """
    goal = Path(path)
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{path}: {goal.parent} is no folder: write to another place") from None
    _clear(goal)
    part = goal.with_name(f".{goal.name}{PART}{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield part
        if part.is_dir():
            if goal.is_file():
                raise UsageError(f"{path} is a file, and a folder is to be written: give another name")
            _replace_folder(part, goal)
        else:
            if goal.is_dir():
                raise UsageError(f"{path} is a folder, and a file is to be written: give another name")
            _sync(part)
            part.replace(goal)
    finally:
        remove(part)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with whole(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` in UTF-8 to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def new_array(path: str | Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A new .npy file of zeros, mapped into memory and writable, for which the disk has room.

    The room is taken at once, so that a full disk is an OSError here: in a file with holes it would be a signal that
    ends the process, when the holes are filled.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        handle = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(handle, 0, max(1, os.fstat(handle).st_size))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        finally:
            os.close(handle)
    return array


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Errors of the disk as OSError, where a library in another language (safetensors) has wrapped them in its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


@contextmanager
def usual_mode(path: Path) -> Iterator[None]:
    """Give the new file `path` the permissions of any other, where a library (safetensors) shuts out other people."""
    path.touch()
    mode = path.stat().st_mode & 0o777
    yield
    path.chmod(mode)


def goal_of(path: str) -> str:
    """The path that is meant by that of something unfinished; any other as it is."""
    meant, part, _ = Path(path).name.rpartition(PART)
    return str(Path(path).with_name(meant.removeprefix("."))) if part else path


def remove(path: str | Path) -> None:
    """Remove a file or a folder with all that is in it; nothing happens where there is none."""
    goal = Path(path)
    if goal.is_dir() and not goal.is_symlink():
        shutil.rmtree(goal, ignore_errors=True)
    else:
        goal.unlink(missing_ok=True)


def _clear(goal: Path) -> None:
    for left in goal.parent.glob(f".{glob.escape(goal.name)}{PART}{_host()}-*"):
        pid = left.name.rsplit(PART, 1)[1].split("-")[1]
        if pid.isdigit() and not _lives(int(pid)):
            remove(left)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


@cache
def _host() -> str:
    # Process numbers say nothing about the processes of another machine on the same disk.
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _replace_folder(part: Path, goal: Path) -> None:
    if not goal.exists():
        part.rename(goal)
        return
    old = goal.with_name(f".{goal.name}{PART}{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}-old")
    goal.rename(old)
    part.rename(goal)
    remove(old)


def _sync(path: Path) -> None:
    # A rename can reach the disk before the data does; after a power cut that would be an empty file.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def leave(
    whole: AbstractContextManager[Any],
    finish: Callable[[], None],
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    """The `__exit__` of an object that writes within `whole`: its last words first, then the file appears or does not.

    Args:
        whole: the context that was entered, such as that of `whole`.
        finish: closes what is written; what it raises keeps the file from appearing.
        kind: as `__exit__` has it.
        error: likewise.
        trace: likewise.
    """
    try:
        finish()
    except BaseException as failure:
        whole.__exit__(type(failure), failure, failure.__traceback__)
        raise
    # Inside `whole` an error is re-raised by the generator; it is on its way already.
    try:
        whole.__exit__(kind, error, trace)
    except BaseException as again:
        if again is not error:
            raise
