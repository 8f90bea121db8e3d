"""Columns that an encoder adds to the rows it embeds, such as whether a cell is homogeneous.

An encoder that has something to say of a place besides its vector declares the columns beforehand, by
`flag_columns: Mapping[str, pa.DataType]`, and gives their values for the content it is shown, by
`flags(data) -> Mapping[str, array]`. A place that is flagged is embedded like all others; boolean columns are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import JobError, UsageError
from placevec.table import Places
from placevec.table.places import RESERVED


def flag_columns(encoder: Any) -> dict[str, pa.DataType]:
    """The columns that `encoder` adds, with their types; none for most.

    Raises:
        UsageError: it declares a name that has a meaning of its own.
    """
    columns = dict(getattr(encoder, "flag_columns", None) or {})
    taken = sorted(set(columns) & set(RESERVED))
    if taken:
        raise UsageError(f"the encoder adds a column {taken[0]!r}, a name with a meaning of its own: give it another")
    return columns


def counted_flags(encoder: Any) -> tuple[str, ...]:
    """Those of its columns that are counted: the boolean ones."""
    return tuple(name for name, kind in flag_columns(encoder).items() if pa.types.is_boolean(kind))


def flags_of(encoder: Any, data: Mapping[str, NDArray[Any]], n: int) -> dict[str, pa.Array]:
    """What `encoder` says of the `n` places whose content is `data`, by column.

    Raises:
        JobError: it gives other columns than it declares, or another number or type of values.
    """
    columns = flag_columns(encoder)
    if not columns:
        return {}
    given = encoder.flags(data)
    if set(given) != set(columns):
        raise JobError(f"the encoder declares the columns {sorted(columns)} and gives {sorted(given)}: make them equal")
    found = {}
    for name, kind in columns.items():
        values = given[name]
        if len(values) != n:
            raise JobError(f"the encoder gave {len(values)} values of {name!r} for {n} places")
        try:
            array = values if isinstance(values, pa.Array) else pa.array(np.asarray(values))
            found[name] = array.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise JobError(f"the column {name!r} is declared as {kind}, which does not fit: {reason}") from error
    return found


def with_flags(places: Places, flags: Mapping[str, pa.Array]) -> Places:
    """The places with the columns of `flags`; UsageError if they have one of that name already."""
    data = places.data
    for name, values in flags.items():
        if name in data.schema.names:
            raise UsageError(
                f"the places have a column {name!r}, and the encoder adds one of that name: leave it out of the places"
            )
        data = data.append_column(name, values)
    return Places(data)


def count_flags(data: pa.Table, names: tuple[str, ...]) -> dict[str, int]:
    """How many rows are flagged by each of the boolean columns `names`."""
    return {name: int(pc.sum(data[name]).as_py() or 0) for name in names}
