"""Configurations of networks: frozen dataclasses to JSON and back, strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from placevec.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")


def to_json(config: Any) -> dict[str, Any]:
    """A JSON object of the fields of the dataclass `config`, tuples as lists; a `kind` of its class comes first."""
    kind = getattr(type(config), "kind", None)
    values = {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    return {"kind": kind, **values} if isinstance(kind, str) else values


def from_json(cls: type[C], value: Mapping[str, Any], choices: Mapping[str, Mapping[str, type]] | None = None) -> C:
    """Build the dataclass `cls` from what `to_json` gave.

    Args:
        cls: the dataclass.
        value: its fields; those left out take their default.
        choices: for a field that holds one of several dataclasses: its name to {kind: class}.

    Raises:
        UsageError: an unknown key, a value of another type, or an unknown kind; the message names it.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    known = dict(value)
    if "kind" not in fields:
        known.pop("kind", None)
    unknown = sorted(set(known) - set(fields))
    if unknown:
        raise UsageError(f"{cls.__name__} has no setting {unknown[0]!r}; it has: {', '.join(fields)}")
    built: dict[str, Any] = {}
    for name, item in known.items():
        hint = hints[name]
        if choices and name in choices and isinstance(item, Mapping):
            built[name] = from_json(pick(choices[name], str(item.get("kind", "")), name), item)
        elif isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(item, Mapping):
            built[name] = from_json(hint, item)
        else:
            built[name] = tuple(item) if isinstance(item, list) else item
        if hint in (int, float, bool, str) and not _fits(built[name], hint):
            raise UsageError(f"{cls.__name__}.{name} is a {hint.__name__}, not {built[name]!r}")
    try:
        return cls(**built)
    except TypeError as error:
        raise UsageError(f"{cls.__name__}: {error}") from error


def pick(choices: Mapping[str, type], kind: str, what: str) -> type:
    """The class called `kind`, or UsageError with the names that exist."""
    if kind not in choices:
        raise UsageError(f"no {what} is called {kind!r}; known: {', '.join(sorted(choices))}")
    return choices[kind]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _fits(value: Any, hint: type) -> bool:
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
