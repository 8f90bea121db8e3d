"""Configurations of networks: frozen dataclasses to JSON and back, strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from placevec.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")
Choices = Mapping[str, type]

_CHOICES = "choices"
_DEFAULT = "default kind"


def one_of(choices: Choices, default: str = "") -> dict[str, Any]:
    """The metadata of a dataclass field that holds one of several dataclasses, or a tuple of such.

    Args:
        choices: {kind: class}.
        default: the kind of a description that names none; "": it must name one.
    """
    return {_CHOICES: choices, _DEFAULT: default}


def to_json(config: Any) -> dict[str, Any]:
    """A JSON object of the fields of the dataclass `config`, tuples as lists; a `kind` of its class comes first."""
    kind = getattr(type(config), "kind", None)
    values = {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    return {"kind": kind, **values} if isinstance(kind, str) else values


def from_json(cls: type[C], value: Mapping[str, Any], choices: Mapping[str, Choices] | None = None) -> C:
    """Build the dataclass `cls` from what `to_json` gave, with all the dataclasses inside.

    Args:
        cls: the dataclass.
        value: its fields; those left out take their default.
        choices: for a field that holds one of several dataclasses: its name to {kind: class}. A field may also say
            so itself, by the metadata of `one_of`.

    Raises:
        UsageError: an unknown or missing key, a value of another type, or an unknown kind; the message names it.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    known = dict(value)
    if "kind" not in fields:
        known.pop("kind", None)
    unknown = sorted(set(known) - set(fields))
    if unknown:
        raise UsageError(f"{cls.__name__} has no setting {unknown[0]!r}; it has: {', '.join(fields)}")
    for name, field in fields.items():
        if name not in known and field.init and field.default is field.default_factory is dataclasses.MISSING:
            raise UsageError(f"{cls.__name__} needs the setting {name!r}")
    built = {}
    for name, item in known.items():
        metadata = fields[name].metadata
        if metadata.get(_DEFAULT) and isinstance(item, Mapping):
            item = {"kind": metadata[_DEFAULT], **item}
        built[name] = _read(item, hints[name], metadata.get(_CHOICES) or (choices or {}).get(name), cls.__name__, name)
    try:
        return cls(**built)
    except TypeError as error:
        raise UsageError(f"{cls.__name__}: {error}") from error


def pick(choices: Choices, kind: str, what: str) -> type:
    """The class called `kind`, or UsageError with the names that exist."""
    if kind not in choices:
        raise UsageError(f"no {what} is called {kind!r}; known: {', '.join(sorted(choices))}")
    return choices[kind]


def _read(item: Any, hint: Any, choices: Choices | None, owner: str, name: str) -> Any:
    """One value of the type `hint`, or UsageError naming the setting `name` of `owner`."""
    if dataclasses.is_dataclass(item):
        return item
    origin = get_origin(hint)
    if origin is tuple and get_args(hint)[1:] == (...,):
        if not isinstance(item, (list, tuple)):
            raise UsageError(f"{owner}.{name} is a list, not {item!r}")
        return tuple(_read(part, get_args(hint)[0], choices, owner, name) for part in item)
    if origin in (Union, UnionType) and NoneType in get_args(hint):
        rest = [kind for kind in get_args(hint) if kind is not NoneType]
        return item if item is None else _read(item, rest[0] if len(rest) == 1 else Any, choices, owner, name)
    if choices is not None:
        if not isinstance(item, Mapping):
            raise UsageError(
                f"{owner}.{name} is a table with a kind, not {item!r}; known: {', '.join(sorted(choices))}"
            )
        return from_json(pick(choices, str(item.get("kind", "")), name), item)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(item, Mapping):
            raise UsageError(f"{owner}.{name} is a table, not {item!r}")
        return from_json(hint, item)
    if origin is Literal and item not in get_args(hint):
        raise UsageError(f"{owner}.{name} is {item!r}; known: {', '.join(map(str, get_args(hint)))}")
    if hint in (int, float, bool, str) and not _fits(item, hint):
        raise UsageError(f"{owner}.{name} is a {hint.__name__}, not {item!r}")
    return tuple(item) if isinstance(item, list) else item


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
