"""Every exception that placevec raises on purpose.

The tree::

    PlacevecError
    ├── UsageError           a request that contradicts itself or names something that does not exist (exit 2)
    │   └── RecipeError      a recipe with an unknown key, a wrong type or a missing step
    ├── DataError            input that cannot be used as it is
    │   ├── FormatError      a file is not what its name says: cut short, empty, a pickle, not WKT
    │   ├── SchemaError      a table breaks the contract: duplicate ids, NaN, ragged vectors, missing column
    │   ├── CoordinateError  longitude or latitude out of range, swapped, or not finite
    │   └── CrsError         a coordinate reference system is missing, unknown or does not fit
    ├── SpaceMismatch        vectors of two Spaces were to be compared
    ├── LeakError            a test row was seen when the encoder or transform was fitted
    ├── StaleIndex           an index does not belong to the table it is used with
    ├── JobError             a job lost shards, or its folder belongs to another job
    ├── CheckpointError      a model folder or a training state cannot be loaded
    └── MissingExtra         an optional dependency is not installed

Each message is one line that gives the offending value and the next step. The command line prints that line
alone and exits with 1 (2 for ``UsageError``); a traceback means a defect of placevec.
"""

from __future__ import annotations


class PlacevecError(Exception):
    """Base of all errors that placevec raises on purpose."""

    exit_code = 1


class UsageError(PlacevecError):
    """A request that contradicts itself or names something that does not exist."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe with an unknown key, a wrong type or a missing step."""


class DataError(PlacevecError):
    """Input that cannot be used as it is."""


class FormatError(DataError):
    """A file that is not what its name says it is."""


class SchemaError(DataError):
    """A table that breaks the contract."""


class CoordinateError(DataError):
    """A longitude or latitude that is out of range, swapped or not finite."""


class CrsError(DataError):
    """A coordinate reference system that is missing, unknown or unsuitable."""


class SpaceMismatch(PlacevecError):
    """Vectors of two Spaces were to be compared."""


class LeakError(PlacevecError):
    """A test row was seen when an encoder or a transform was fitted."""


class StaleIndex(PlacevecError):
    """An index that does not belong to the table it is used with."""


class JobError(PlacevecError):
    """A job that lost shards, or a folder that belongs to another job."""


class CheckpointError(PlacevecError):
    """A model folder or a training state that cannot be loaded."""


class MissingExtra(PlacevecError):
    """An optional dependency that is not installed; the message names the extra."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: pip install 'placevec[{extra}]'"
        )
        self.package = package
        self.extra = extra
