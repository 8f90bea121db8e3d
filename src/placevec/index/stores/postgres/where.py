"""A filter on attributes as SQL: the grammar of `table.where`, its constants as bound parameters.

The meaning is that of `table.where`: a comparison with an absent value is never true, nor is its opposite, while `in`
and `not in` are plainly false for one. NaN compares as in Arrow, where PostgreSQL would take it for the largest number.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from placevec.errors import UsageError
from placevec.index.stores.postgres.driver import sql
from placevec.index.stores.postgres.layout import Layout, sql_type
from placevec.table import Filter, Places
from placevec.table.where import TIMES

_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "=",
    ast.NotEq: "<>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
# Where NaN, the largest number of PostgreSQL, would make a comparison true that Arrow finds false: which sides to ask.
_NAN_SIDES = {"=": "l", ">": "l", ">=": "l", "<": "r", "<=": "r"}


@dataclass
class Clause:
    """A condition with the parameters that stand in it as %s, in order."""

    text: sql.Composable
    values: list[Any] = field(default_factory=list)

    def __and__(self, other: Clause) -> Clause:
        return Clause(sql.SQL("({} and {})").format(self.text, other.text), [*self.values, *other.values])

    def __or__(self, other: Clause) -> Clause:
        return Clause(sql.SQL("({} or {})").format(self.text, other.text), [*self.values, *other.values])

    def negated(self) -> Clause:
        """What does not meet it."""
        return Clause(sql.SQL("(not {})").format(self.text), self.values)


def where_clause(text: str, layout: Layout) -> Clause:
    """The condition that `text` writes, over the columns of `layout`.

    Raises:
        UsageError: the text is no filter, names a column that is not there, or compares unlike things.
    """
    asked = Filter(where=text)
    assert asked.expression is not None
    known = [name for name in layout.schema.names if name not in ("id", "geometry")]
    for name in asked.expression[1]:
        if name not in layout.schema.names:
            raise UsageError(
                f"the filter names {name!r}, which the store lacks; its columns: {', '.join(known) or 'none'}"
            )
    # Arrow says what does not fit the types, in the words of every other search.
    asked.mask(Places(layout.schema.empty_table()))
    return _Translation(text, layout).truth(ast.parse(text.strip(), mode="eval").body)


class _Translation:
    """One text that is being translated; what it may hold was checked by `table.where`."""

    def __init__(self, text: str, layout: Layout) -> None:
        self.text = text
        self.layout = layout

    def truth(self, node: ast.expr) -> Clause:
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(value) for value in node.values]
            total = parts[0]
            for part in parts[1:]:
                total = total & part if isinstance(node.op, ast.And) else total | part
            return total
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.truth(node.operand)
            return Clause(sql.SQL("(not {})").format(inner.text), inner.values)
        if isinstance(node, ast.Name):
            return Clause(self.column(node.id))
        assert isinstance(node, ast.Compare)
        parts = []
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            parts.append(self.compare(left, operator, right))
            left = right
        total = parts[0]
        for part in parts[1:]:
            total = total & part
        return total

    def compare(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Clause:
        if isinstance(operator, ast.Is | ast.IsNot):
            value = self.value(left, left)
            word = sql.SQL("is null" if isinstance(operator, ast.Is) else "is not null")
            return Clause(sql.SQL("({} {})").format(value.text, word), value.values)
        if isinstance(operator, ast.In | ast.NotIn):
            return self.within(left, right, wanted=isinstance(operator, ast.In))
        a, b = self.value(left, right), self.value(right, left)
        sign = _OPERATORS[type(operator)]
        plain = Clause(sql.SQL("({} {} {})").format(a.text, sql.SQL(sign), b.text), [*a.values, *b.values])
        return self.nan_as_in_arrow(plain, sign, left, right)

    def nan_as_in_arrow(self, plain: Clause, sign: str, left: ast.expr, right: ast.expr) -> Clause:
        if sign == "<>":
            if self.floats(left) and self.floats(right):
                return plain | Clause(sql.SQL("({} = 'NaN')").format(self.column(_name(left))))
            return plain
        side = left if _NAN_SIDES[sign] == "l" else right
        if not self.floats(side):
            return plain
        return plain & Clause(sql.SQL("({} <> 'NaN')").format(self.column(_name(side))))

    def within(self, left: ast.expr, right: ast.expr, *, wanted: bool) -> Clause:
        assert isinstance(right, ast.Tuple | ast.List | ast.Set)
        value = self.value(left, right.elts[0] if right.elts else left)
        if not right.elts:
            # Arrow takes an empty list for one of nothing: no row is in it, every row with a value is not.
            return (
                Clause(sql.SQL("false"))
                if wanted
                else Clause(sql.SQL("({} is not null)").format(value.text), value.values)
            )
        items = [self.value(item, left, listed=True) for item in right.elts]
        listed = sql.SQL(", ").join(item.text for item in items)
        values = [*value.values, *(one for item in items for one in item.values)]
        word = sql.SQL("in" if wanted else "not in")
        return Clause(sql.SQL("coalesce({} {} ({}), false)").format(value.text, word, listed), values)

    def value(self, node: ast.expr, other: ast.expr, *, listed: bool = False) -> Clause:
        """A column, or a constant (of a list, if `listed`) in the type that fits what it is compared with."""
        if isinstance(node, ast.Name):
            return Clause(self.column(node.id))
        constant = ast.literal_eval(node)
        if isinstance(other, ast.Name) and other.id in TIMES:
            moment = datetime.fromisoformat(str(constant))
            return Clause(sql.SQL("%s::timestamptz"), [moment if moment.tzinfo else moment.replace(tzinfo=UTC)])
        kind = "numeric"
        if isinstance(constant, bool):
            kind = "boolean"
        elif isinstance(constant, float):
            kind = "double precision"
        elif isinstance(constant, str):
            kind = "text" if not isinstance(other, ast.Name) else self.kind(other.id)
        elif isinstance(other, ast.Name) and self.floats(other):
            kind = "double precision"
        if listed and isinstance(other, ast.Name) and kind == "double precision" and self.kind(other.id) == "real":
            # Arrow rounds the values of a list to the column's float32, though not a constant that is compared.
            kind = "real"
        return Clause(sql.SQL("%s::{}").format(sql.SQL(_CASTS[kind])), [constant])

    def column(self, name: str) -> sql.Composable:
        return sql.Identifier(self.layout.column(name))

    def kind(self, name: str) -> str:
        return sql_type(self.layout.schema.field(name)).removesuffix(" not null")

    def floats(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and pa.types.is_floating(self.layout.schema.field(node.id).type)


# Spelt out, so that a type in a query is never put together from what was read.
_CASTS: dict[str, Any] = {
    "numeric": "numeric",
    "boolean": "boolean",
    "double precision": "double precision",
    "real": "real",
    "text": "text",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "bytea": "bytea",
}


def _name(node: ast.expr) -> str:
    assert isinstance(node, ast.Name)
    return node.id
