"""Attribute filters as conditions of Qdrant: a superset of the rows that pass, and what it leaves to placevec.

The grammar is that of `table.where`, and so is the meaning of absent values: a comparison with one is neither true nor
false, `in` a list is false of one. Negations are moved inwards to the comparisons first, because a server's "not"
would let absent values pass.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from placevec.index.stores.qdrant.api import models
from placevec.index.stores.qdrant.layout import NAN, path_of
from placevec.table.where import TIMES

_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
_RANGE = {ast.Lt: "lt", ast.LtE: "lte", ast.Gt: "gt", ast.GtE: "gte"}
# Whole numbers beyond this are not all doubles, as which a server compares them.
_DOUBLE = 1 << 53
_I64 = (1 << 63) - 1


@dataclass
class Words:
    """Translates one filter, which `table.where` has accepted for columns of `schema`."""

    schema: pa.Schema
    left: list[str] = field(default_factory=list)  # parts that the server cannot decide

    def condition(self, text: str) -> Any | None:
        """A condition that every row passing `text` meets; None if that is every row."""
        return self._truth(ast.parse(text.strip(), mode="eval").body, negated=False)

    def _truth(self, node: ast.expr, *, negated: bool) -> Any | None:
        if isinstance(node, ast.UnaryOp):
            return self._truth(node.operand, negated=not negated)
        if isinstance(node, ast.BoolOp):
            parts = [self._truth(value, negated=negated) for value in node.values]
            return _all(parts) if isinstance(node.op, ast.And) is not negated else _any(parts)
        if isinstance(node, ast.Name):
            return self._own(node.id, models.MatchValue(value=not negated))
        assert isinstance(node, ast.Compare)
        sides = [node.left, *node.comparators]
        pairs = [
            self._pair(left, operator, right, negated)
            for left, operator, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        return _any(pairs) if negated else _all(pairs)

    def _pair(self, left: ast.expr, operator: ast.cmpop, right: ast.expr, negated: bool) -> Any | None:
        kind = type(operator)
        found = None
        if not {node.id for node in (left, right) if isinstance(node, ast.Name)} <= set(self.schema.names):
            pass  # the id, which a point has outside of its attributes
        elif isinstance(operator, ast.In | ast.NotIn) and isinstance(left, ast.Name):
            found = self._member(
                left.id, [ast.literal_eval(item) for item in getattr(right, "elts", [])], kind, negated
            )
        elif isinstance(operator, ast.Is | ast.IsNot) and isinstance(left, ast.Name):
            absent = (_FLIPPED[kind] if negated else kind) is ast.Is
            found = _empty(left.id) if absent else _not(_empty(left.id))
        elif kind in _FLIPPED and isinstance(left, ast.Name) and not isinstance(right, ast.Name):
            found = self._compared(left.id, kind, ast.literal_eval(right), negated)
        elif kind in _FLIPPED and isinstance(right, ast.Name) and not isinstance(left, ast.Name):
            found = self._compared(right.id, _TURNED.get(kind, kind), ast.literal_eval(left), negated)
        if found is None:
            words = ast.unparse(ast.Compare(left, [operator], [right]))
            self.left.append(f"not {words}" if negated else words)
        return found

    def _member(self, name: str, values: list[Any], kind: type[ast.cmpop], negated: bool) -> Any | None:
        one_of = _any([self._equal(name, value) for value in values]) if values else never()
        if one_of is None:
            return None
        if kind is ast.In:
            # `in` is false of an absent value, so its negation is true of it.
            return _not(one_of) if negated else one_of
        # `not in` is false of an absent value too.
        return _any([one_of, _empty(name)]) if negated else models.Filter(must_not=[one_of, _empty(name)])

    def _compared(self, name: str, kind: type[ast.cmpop], value: Any, negated: bool) -> Any | None:
        kind = _FLIPPED[kind] if negated else kind
        if kind is ast.Eq:
            return self._equal(name, value)
        if kind is ast.NotEq and isinstance(value, bool):
            return self._equal(name, not value)
        if kind is ast.NotEq:
            equal = self._equal(name, value)
            return None if equal is None else models.Filter(must_not=[equal, _empty(name)])
        word = _RANGE[kind]
        if name in TIMES:
            return self._own(name, range_=models.DatetimeRange(**{word: _time(value)}))
        of = self.schema.field(name).type
        numeric = pa.types.is_floating(of) or (pa.types.is_integer(of) and not pa.types.is_uint64(of))
        if not numeric or isinstance(value, bool | str) or abs(value) >= _DOUBLE:
            return None
        found = self._own(name, range_=models.Range(**{word: float(value)}))
        if negated and pa.types.is_floating(of):
            # No comparison holds of NaN, so that its negation does.
            return _any([found, self._own(name, models.MatchValue(value=NAN))])
        return found

    def _equal(self, name: str, value: Any) -> Any | None:
        of = self.schema.field(name).type
        if name in TIMES:
            return self._own(name, range_=models.DatetimeRange(gte=_time(value), lte=_time(value)))
        if pa.types.is_boolean(of) and isinstance(value, bool):
            return self._own(name, models.MatchValue(value=value))
        if pa.types.is_string(of) or pa.types.is_large_string(of):
            return self._own(name, models.MatchValue(value=value)) if isinstance(value, str) else None
        if isinstance(value, bool | str):
            return None
        if pa.types.is_integer(of) and float(value).is_integer() and abs(int(value)) <= _I64:
            return self._own(name, models.MatchValue(value=int(value)))
        if pa.types.is_floating(of) and abs(value) < _DOUBLE:
            return self._own(name, range_=models.Range(gte=float(value), lte=float(value)))
        return None

    @staticmethod
    def _own(name: str, match: Any = None, range_: Any = None) -> Any:
        return models.FieldCondition(key=path_of(name), match=match, range=range_)


def _time(value: Any) -> datetime:
    instant = datetime.fromisoformat(str(value))
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _empty(name: str) -> Any:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=path_of(name)))


def never() -> Any:
    """A condition that no point meets."""
    return models.HasIdCondition(has_id=[])


def _not(condition: Any) -> Any:
    return models.Filter(must_not=[condition])


def _all(parts: list[Any | None]) -> Any | None:
    """What all rows passing every part meet; a part that is not known (None) lets all rows pass."""
    known = [part for part in parts if part is not None]
    if len(known) < 2:
        return known[0] if known else None
    return models.Filter(must=known)


def _any(parts: list[Any | None]) -> Any | None:
    if any(part is None for part in parts):
        return None
    return parts[0] if len(parts) == 1 else models.Filter(should=parts)
