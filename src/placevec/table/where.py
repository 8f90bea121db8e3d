"""Attribute filters: ``elevation > 500 and cover in ('forest', 'grass') and not name is None``.

The text is parsed by Python's own parser and only comparisons of columns with constants, joined by `and`, `or`,
`not`, are understood; nothing is ever executed.
"""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from placevec.errors import UsageError

# Columns whose constants are times.
TIMES = ("time_start", "time_end")

_COMPARE: dict[type[ast.cmpop], Any] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
_EXAMPLE = "write it like \"elevation > 500 and cover in ('forest', 'grass')\""


def parse_where(text: str) -> tuple[pc.Expression, tuple[str, ...]]:
    """The Arrow expression of a filter's `text`, and the names of the columns that it reads.

    A comparison with an absent value is never true. Raises UsageError for anything but comparisons.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"the filter {text!r} cannot be read: {_EXAMPLE}") from error
    columns: list[str] = []
    try:
        return _truth(tree, columns, text), tuple(dict.fromkeys(columns))
    except RecursionError as error:
        raise UsageError("the filter is nested too deeply") from error


def _truth(node: ast.expr, columns: list[str], text: str) -> pc.Expression:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(value, columns, text) for value in node.values]
        total = parts[0]
        for part in parts[1:]:
            total = (total & part) if isinstance(node.op, ast.And) else (total | part)
        return total
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_truth(node.operand, columns, text)
    if isinstance(node, ast.Compare):
        total = None
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            part = _compare(left, operator, right, columns, text)
            total = part if total is None else total & part
            left = right
        assert total is not None
        return total
    if isinstance(node, ast.Name):
        columns.append(node.id)
        return pc.field(node.id)
    raise UsageError(f"the filter {text!r} holds {ast.unparse(node)!r}, which is no comparison: {_EXAMPLE}")


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr, columns: list[str], text: str) -> pc.Expression:
    if isinstance(operator, ast.Is | ast.IsNot):
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise UsageError(f"the filter {text!r}: 'is' goes with None only")
        absent = _value(left, columns, text).is_null()
        return absent if isinstance(operator, ast.Is) else ~absent
    if isinstance(operator, ast.In | ast.NotIn):
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise UsageError(f"the filter {text!r}: 'in' goes with a list, such as cover in ('forest', 'grass')")
        values = [_constant(item, text) for item in right.elts]
        value = _value(left, columns, text)
        within = value.isin(values)
        return within if isinstance(operator, ast.In) else ~within & value.is_valid()
    sides = [_value(left, columns, text), _value(right, columns, text)]
    for side, (named, other) in enumerate(((right, left), (left, right))):
        if isinstance(named, ast.Name) and named.id in TIMES:
            sides[side] = pc.scalar(_instant(other, text))
    return _COMPARE[type(operator)](*sides)


def _instant(node: ast.expr, text: str) -> pa.Scalar:
    """A time written as ISO 8601, UTC where nothing else is said."""
    value = _constant(node, text)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise UsageError(f"the filter {text!r}: {value!r} is no time; write it like '2020-01-31'") from error
    return pa.scalar(found if found.tzinfo else found.replace(tzinfo=UTC), pa.timestamp("us", "UTC"))


def _value(node: ast.expr, columns: list[str], text: str) -> pc.Expression:
    if isinstance(node, ast.Name):
        columns.append(node.id)
        return pc.field(node.id)
    return pc.scalar(_constant(node, text))


def _constant(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand, text)
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | bool):
        return node.value
    raise UsageError(f"the filter {text!r} holds {ast.unparse(node)!r}, which is no column and no constant: {_EXAMPLE}")
