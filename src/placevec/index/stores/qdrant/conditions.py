"""A Filter as conditions of Qdrant: every row that passes meets them, and placevec looks at those that do again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from placevec.errors import UsageError
from placevec.index.stores.keys import keys_of_ids
from placevec.index.stores.qdrant.api import models
from placevec.index.stores.qdrant.layout import LOCATION
from placevec.index.stores.qdrant.regions import in_box, in_cells, in_circle, in_polygon
from placevec.index.stores.qdrant.words import Words, never
from placevec.table import Filter, Places


@dataclass(frozen=True)
class Pushed:
    """What of a filter the server applies."""

    filter: Any | None  # a Filter of the client, None for all points
    left: tuple[str, ...] = ()  # parts that placevec applies to what the server finds, in words
    geographic: bool = False  # whether there is a condition on the location


def pushed(filter: Filter | None, schema: pa.Schema) -> Pushed:
    """The conditions of `filter` for points with attributes of `schema`.

    Raises:
        UsageError: it names a column that is not there, or does not fit its type.
    """
    if filter is None or filter.empty:
        return Pushed(None)
    check_columns(filter, schema)
    must: list[Any] = []
    left: list[str] = []
    if filter.ids is not None:
        must.append(models.HasIdCondition(has_id=keys_of_ids(list(dict.fromkeys(filter.ids)))))
    if filter.bbox is not None:
        must.append(in_box(filter.bbox))
    if filter.near is not None:
        must.append(in_circle(*filter.near))
    if filter.within is not None:
        must.append(in_polygon(filter.within))
    if filter.h3 is not None:
        must.append(in_cells(filter.h3) if len(filter.h3) else never())
    if filter.where is not None:
        words = Words(schema)
        must.append(words.condition(filter.where))
        left = words.left
    known = [condition for condition in must if condition is not None]
    return Pushed(models.Filter(must=known) if known else None, tuple(left), filter.geographic)


def unlocated() -> Any:
    """The filter of points without a location."""
    return models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=LOCATION))])


def check_columns(filter: Filter, schema: pa.Schema) -> None:
    """UsageError unless the columns that a filter names are there and of a type that fits."""
    for name in filter.columns:
        if name != "id" and name not in schema.names:
            known = ", ".join(schema.names) or "none"
            raise UsageError(f"the filter names {name!r}, which the store lacks; its attributes: {known}")
    if filter.where is not None:
        fields = [pa.field("id", pa.string()), pa.field("geometry", pa.binary()), *schema]
        Filter(where=filter.where).mask(Places(pa.schema(fields).empty_table()))
