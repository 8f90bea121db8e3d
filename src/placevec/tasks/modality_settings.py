"""Modalities by name: what there is, what options each has, and how texts and JSON become their settings."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union

from placevec.config import nearest
from placevec.errors import UsageError
from placevec.registry import get, names
from placevec.tasks.modalities.base import Modality

KIND = "modality"  # the registry's word

TAKEN = ("area", "do", "format", "help", "modality", "name", "on", "only", "out", "quiet", "reads", "resolution")
"""Names that no option of a modality has: commands and recipes use them themselves."""

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclasses.dataclass(frozen=True)
class ModalityOption:
    """An option of a modality, as a command line and a recipe show it.

    Attributes:
        name: of the field.
        types: that a value may have, None not among them.
        help: one line for people.
        required: whether it has to be given.
        default: what it is where it is not given.
        many: whether several are given.
        file: whether it names files that have to be there.
    """

    name: str
    types: tuple[Any, ...]
    help: str
    required: bool
    default: Any
    many: bool
    file: bool

    @property
    def flag(self) -> str:
        """The option on a command line."""
        return "--" + self.name.rstrip("_").replace("_", "-")


def modality_names() -> list[str]:
    """The modalities there are, built-in and plug-in, sorted."""
    return names(KIND)


def modality_class(name: str) -> type[Modality]:
    """The dataclass of a modality's settings, imported now.

    Raises UsageError, with the nearest name, if there is none, or if what a plug-in names is no modality.
    """
    if name not in modality_names():
        raise UsageError(f"no modality is called {name!r}{nearest(name, modality_names())}")
    found = get(KIND, name)
    if not (isinstance(found, type) and issubclass(found, Modality) and dataclasses.is_dataclass(found)):
        raise UsageError(
            f"{name!r} is {found!r}, which is no modality: make it a frozen dataclass that derives from "
            "placevec.tasks.modalities.base.Modality"
        )
    return found


def name_of_modality(modality: Modality) -> str:
    """The name by which the registry knows the class of `modality`; else that of the class."""
    own = type(modality)
    for name in modality_names():
        with contextlib.suppress(ImportError):  # of a plug-in that is broken: it is not the one that is meant
            if get(KIND, name) is own:
                return name
    return own.__name__.lower()


def what_it_is(kind: type[Modality]) -> str:
    """The first line of a modality's docstring."""
    return (inspect.getdoc(kind) or "").partition("\n")[0].strip()


def options_of(kind: type[Modality]) -> list[ModalityOption]:
    """The options of a modality, in the order of its fields.

    Raises UsageError for a field of a type that cannot be given on a command line, or with a name that is `TAKEN`: a
    defect of the modality.
    """
    hints = typing.get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        if field.name in TAKEN:
            raise UsageError(
                f"{kind.__name__}.{field.name}: this name has a meaning for all modalities; choose another"
            )
        allowed, many = _types(hints[field.name], f"{kind.__name__}.{field.name}")
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        required = default is dataclasses.MISSING
        found.append(
            ModalityOption(
                field.name,
                allowed,
                str(field.metadata.get("help", "")),
                required,
                None if required else default,
                many or bool(field.metadata.get("many", False)),
                field.name in kind.inputs,
            )
        )
    return found


def modality_of(name: str, options: Mapping[str, Any]) -> Modality:
    """A modality with options given as texts (of a command line) or as JSON (of a recipe).

    Raises:
        UsageError: no such modality or option (the message names the nearest), an option is missing or of a wrong
            type.
    """
    kind = modality_class(name)
    known = {one.name: one for one in options_of(kind)}
    aliases = {one.flag.removeprefix("--"): one.name for one in known.values()}
    given: dict[str, Any] = {}
    for key, value in options.items():
        field = aliases.get(key.replace("_", "-"), key)
        if field not in known:
            raise UsageError(f"the modality {name!r} has no option {key!r}{nearest(key, known)}")
        given[field] = value
    for one in known.values():
        if one.required and one.name not in given:
            raise UsageError(f"the modality {name!r} needs {one.name}: {one.help or 'give it'} ({one.flag})")
    return kind(**{key: _value(known[key], value) for key, value in given.items()})


def settings_of(modality: Modality) -> dict[str, Any]:
    """All settings of a modality as JSON; paths as texts."""
    return {field.name: _plain(getattr(modality, field.name)) for field in dataclasses.fields(modality) if field.init}


def input_paths(modality: Modality) -> list[str]:
    """The files that a modality reads, as its options name them."""
    found: list[str] = []
    for name in modality.inputs:
        value = getattr(modality, name)
        values = value if isinstance(value, tuple | list) else [value]
        found += [str(one) for one in values if one is not None and str(one).lower() not in modality.known]
    return found


def _types(hint: Any, where: str) -> tuple[tuple[Any, ...], bool]:
    """The types that one value may have, and whether there may be several values."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        allowed: list[Any] = []
        many = False
        for part in inner:
            if part is not type(None):
                more, several = _types(part, where)
                allowed += [one for one in more if one not in allowed]
                many = many or several
        return tuple(allowed), many
    if origin is tuple:
        return _types(next(part for part in inner if part is not Ellipsis), where)[0], True
    if origin is Literal:
        return (hint,), False
    if hint in _WORDS:
        return (hint,), False
    raise UsageError(f"{where} is a {hint}: options are str, Path, int, float, bool, Literal, or tuples of them")


def _value(option: ModalityOption, value: Any) -> Any:
    if option.many:
        listed = value if isinstance(value, list | tuple) else [value]
        if not listed and option.required:
            raise UsageError(f"{option.name} is empty: {option.help or 'give at least one'} ({option.flag})")
        return tuple(_one(option, item) for item in listed)
    if value is None and not option.required and option.default is None:
        return None
    return _one(option, value)


def _one(option: ModalityOption, value: Any) -> Any:
    # A text comes last: every value of a command line is one.
    for kind in sorted(option.types, key=lambda kind: kind in (str, Path)):
        read = _read(kind, value)
        if read is not None:
            return read
    wanted = " or ".join(_word(kind) for kind in option.types)
    raise UsageError(f"{option.name} = {value!r}: {option.flag} is {wanted}")


def _word(kind: Any) -> str:
    return _WORDS[kind] if kind in _WORDS else "one of " + ", ".join(str(one) for one in typing.get_args(kind))


def _read(kind: Any, value: Any) -> Any:
    """The value as `kind`, None if it is none."""
    if typing.get_origin(kind) is Literal:
        return next((one for one in typing.get_args(kind) if value == one or str(one) == value), None)
    if kind is bool:
        return value if isinstance(value, bool) else _TRUTH.get(value.lower()) if isinstance(value, str) else None
    if kind in (str, Path):
        return kind(value) if isinstance(value, str | Path) and str(value) else None
    if isinstance(value, bool):
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    if kind is float:
        return number
    return int(number) if number.is_integer() else None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
