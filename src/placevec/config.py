"""Recipes: TOML files of steps, read, checked, made small for tests, and written again.

::

    [recipe]
    name = "iberia"
    seed = 7

    [vars]
    cells = 6

    [[step]]
    do = "embed"                     # a verb; further keys are its options
    name = "chips"                   # by default the verb
    out = "tables/chips-{cells}.parquet"   # {{cells}} would be the text {cells}
    ground_m = 8000

    [smoke.vars]                     # laid over `vars` and, by name, over steps: small enough for a test
    cells = 4
    [smoke.chips]
    ground_m = 16000

This module knows no verb: `tasks.run` brings the table of verbs and their options.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as clock
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from placevec.errors import RecipeError

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OWN = ("do", "name")
_RESERVED = ("vars", "recipe")

Options = TypeVar("Options", bound=BaseModel)
Scalar = str | int | float | bool


@dataclass(frozen=True)
class PathRole:
    """Marks an option of a verb as a path that the step reads or makes; see `InPath`, `OutPath`."""

    role: Literal["in", "out"]
    named: bool = False  # NAME= may stand before the path


# Texts, because an input may also be an address or a name such as "hf:facebook/dinov2-small" or "blue-marble".
InPath = Annotated[str, PathRole("in")]
OutPath = Annotated[str, PathRole("out")]
NamedInPath = Annotated[str, PathRole("in", named=True)]


class Step(BaseModel):
    """One step: a verb and its options.

    Attributes:
        do: the verb.
        name: what the step is called; unique in the recipe.
        options: the verb's options, not checked yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: str
    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class AreaOptions(BaseModel):
    """The study area that a recipe makes where none is given: `[recipe.area]`.

    Attributes:
        country: a country of Natural Earth, or several joined by ``+``; or give one of
        bbox: "west,south,east,north" in degrees, or
        boundary: a GeoJSON file with a polygon, beside the recipe, or dataset:NAME, or
        cells: a file of H3 cells, beside the recipe or by its full path: the area is those.
        resolution: H3 resolution of its cells, or several, the main one first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    country: str | None = None
    bbox: str | None = None
    boundary: str | None = None
    cells: str | None = None
    resolution: Annotated[int, Field(ge=0, le=15)] | list[Annotated[int, Field(ge=0, le=15)]] = 6


class Recipe(BaseModel):
    """A recipe whose structure is right; the options of its steps are checked by `check_options`.

    Attributes:
        name: its name; by default that of its file.
        description: one line for people.
        seed: the random seed of all steps.
        vars: the variables.
        steps: the steps, in order, with all variables filled in.
        smoke: whether the smoke overlay was laid over it.
        area: the study area that is made where none is given.
        folder: without an area, where it runs: made in the current directory; "" for the recipe's own folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    seed: int = 0
    vars: dict[str, Scalar] = Field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    smoke: bool = False
    area: AreaOptions | None = None
    folder: str = ""

    def step(self, name: str) -> Step:
        """The step called `name`; RecipeError, with the nearest that exists, if there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise RecipeError(f"no step is called {name!r}{nearest(name, [step.name for step in self.steps])}")

    def to_toml(self) -> str:
        """The recipe as it is run: variables filled in, overlay and overrides laid over."""
        head: dict[str, Any] = {"name": self.name, "description": self.description, "seed": self.seed}
        if self.area is not None:
            head["area"] = self.area.model_dump(exclude_none=True)
        if self.folder:
            head["folder"] = self.folder
        steps = [{"do": step.do, "name": step.name, **_escaped(step.options)} for step in self.steps]
        return dump_toml({"recipe": head, "step": steps})


class _Head(BaseModel):
    name: str = ""
    description: str = ""
    seed: int = 0
    area: dict[str, Any] | None = None
    folder: str = ""


def load_recipe(path: str | Path, smoke: bool = False, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: a TOML file.
        smoke: lay the `[smoke]` overlay over it.
        overrides: values by ``steps.NAME.OPTION``, ``vars.NAME`` or ``recipe.seed``, laid over last.

    Raises:
        RecipeError: the file is not TOML, a key is unknown, a step has no verb or shares its name.
    """
    where = Path(path)
    try:
        text = where.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: this is no TOML file ({' '.join(str(error).split())})") from error
    try:
        return parse_recipe(data, name=where.stem, smoke=smoke, overrides=overrides)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def parse_recipe(
    data: Mapping[str, Any], *, name: str = "recipe", smoke: bool = False, overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """The recipe in a TOML document that was read already; see `load_recipe`."""
    document = copy.deepcopy(dict(data))
    refuse_unknown(document, ("recipe", "vars", "step", "smoke"), "the recipe")
    head = check_options(_table(document, "recipe"), _Head, "[recipe]")
    variables = _table(document, "vars")
    raw = document.get("step", [])
    if not isinstance(raw, list) or not raw or not all(isinstance(step, dict) for step in raw):
        raise RecipeError('the recipe has no steps: write each as [[step]] with do = "VERB"')
    steps = _named(raw)
    overlay = _table(document, "smoke")
    refuse_unknown(overlay, [*steps, "vars"], "[smoke]")
    if smoke:
        for key, changes in overlay.items():
            if not isinstance(changes, dict):
                raise RecipeError(f"[smoke] {key} is {changes!r}: write it as a table [smoke.{key}]")
            _merge(variables if key == "vars" else steps[key], changes, f"[smoke.{key}]")
    seed, folder = head.seed, head.folder
    for key, value in (overrides or {}).items():
        if key == "recipe.seed":
            seed = check_options({"seed": value}, _Head, key).seed
        elif key == "recipe.folder":
            folder = check_options({"folder": value}, _Head, key).folder
        else:
            _override(steps, variables, key, value)
    for key, value in variables.items():
        if not isinstance(value, str | int | float | bool):
            raise RecipeError(f"the variable {key!r} is {value!r}: a variable is a text, a number, true or false")
    filled = tuple(
        Step(
            do=step["do"],
            name=label,
            options={k: _fill(v, variables, f"step {label!r}, {k}") for k, v in step.items() if k not in _OWN},
        )
        for label, step in steps.items()
    )
    area = None
    if head.area is not None:
        where = "[recipe.area]"
        area = check_options(
            {key: _fill(value, variables, where) for key, value in head.area.items()}, AreaOptions, where
        )
    return Recipe(
        name=head.name or name,
        description=head.description,
        seed=seed,
        vars=variables,
        steps=filled,
        smoke=smoke,
        area=area,
        folder=str(_fill(folder, variables, "[recipe]")),
    )


def check_options(values: Mapping[str, Any], model: type[Options], where: str) -> Options:
    """`values` as the pydantic `model`; RecipeError naming the first key that is unknown or wrong.

    `where` says what they belong to, such as "step 'chips' (embed)".
    """
    if model.model_config.get("extra") != "allow":  # such a model knows itself what else there may be
        known = [alias for key, field in model.model_fields.items() for alias in (field.alias or key,)]
        refuse_unknown(values, known, where)
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise RecipeError(f"{where}: {key!r} is missing") from error
        shown = f" is {first['input']!r}" if key else ""
        reason = str(first["msg"]).removeprefix("Value error, ")
        subject = f"{key!r}{shown}: " if key else ""  # without one, the options do not go together
        raise RecipeError(f"{where}: {subject}{reason[:1].lower()}{reason[1:]}") from error


def refuse_unknown(values: Iterable[str], known: Iterable[str], where: str) -> None:
    """RecipeError for the first of `values` that is not `known`, with the nearest that is."""
    names = list(known)
    for key in values:
        if key not in names:
            raise RecipeError(f"{where} has the unknown key {key!r}{nearest(key, names)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `name`: the one that may be meant, or all that are `known`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f": did you mean {close[0]!r}?"
    return f": known are {', '.join(names)}" if names else ""


def path_options(options: BaseModel, role: Literal["in", "out"]) -> dict[str, list[str]]:
    """The paths that a step reads ("in") or makes ("out"), by the option that holds them; absent ones are left out.

    An option that is no text but reads several files, such as a layer of a raster and its class table, names them in
    its attribute `paths`.
    """
    found: dict[str, list[str]] = {}
    for name, field in type(options).model_fields.items():
        marks = [mark for mark in (*field.metadata, *_marks(field.annotation)) if isinstance(mark, PathRole)]
        if not any(mark.role == role for mark in marks):
            continue
        named = any(mark.named for mark in marks)
        value = getattr(options, name)
        if isinstance(value, Mapping):
            value, named = list(value.values()), False
        values = value if isinstance(value, list | tuple) else [] if value is None else [value]
        if values:
            texts = [str(path) for item in values for path in getattr(item, "paths", (item,))]
            found[name] = [text.rpartition("=")[2] if named else text for text in texts]
    return found


def parse_override(text: str) -> tuple[str, Any]:
    """``steps.train.epochs=3`` as key and value; the value is read as TOML, else as plain text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{text!r} sets nothing: write it as steps.NAME.OPTION=VALUE")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def dump_toml(value: Mapping[str, Any]) -> str:
    """A TOML document: scalars first, then tables, then lists of tables; options that are None are left out."""
    lines: list[str] = []
    _dump(value, (), lines)
    return "\n".join(lines).strip("\n") + "\n" if lines else ""


def _named(raw: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    steps: dict[str, dict[str, Any]] = {}
    for number, step in enumerate(raw, start=1):
        verb = step.get("do")
        if not isinstance(verb, str) or not verb:
            raise RecipeError(f'step {number} has no verb: write do = "VERB"')
        name = step.get("name", verb)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
            raise RecipeError(f"step {number} is called {name!r}: a name has letters, digits, - and _, and is not vars")
        if name in steps:
            raise RecipeError(f'two steps are called {name!r}: give the second another name = "..."')
        steps[name] = step
    return steps


def _table(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise RecipeError(f"{key} is {value!r}: write it as a table [{key}]")
    return value


def _merge(target: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    for key, value in changes.items():
        if key in _OWN and where != "[smoke.vars]":
            raise RecipeError(f"{where} changes {key!r}: an overlay changes options only")
        old = target.get(key)
        # A part of another kind has other settings: none of the old ones is kept.
        if isinstance(value, dict) and isinstance(old, dict) and value.get("kind") in (None, old.get("kind")):
            _merge(target[key], value, f"{where}.{key}")
        else:
            target[key] = value


def _override(steps: dict[str, dict[str, Any]], variables: dict[str, Any], key: str, value: Any) -> None:
    parts = key.split(".")
    if parts[0] == "vars" and len(parts) == 2:
        refuse_unknown([parts[1]], variables, "vars")
        variables[parts[1]] = value
        return
    if parts[0] != "steps" or len(parts) < 3:
        raise RecipeError(f"{key!r} sets nothing: write steps.NAME.OPTION, vars.NAME or recipe.seed")
    if parts[1] not in steps:
        raise RecipeError(f"no step is called {parts[1]!r}{nearest(parts[1], steps)}")
    if parts[2] in _OWN:
        raise RecipeError(f"{key!r} changes {parts[2]!r}: options only can be set")
    target = steps[parts[1]]
    for part in parts[2:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise RecipeError(f"{key!r}: {part!r} is {target!r}, not a table")
    target[parts[-1]] = value


def _fill(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, variables, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, variables, where) for item in value]
    if not isinstance(value, str):
        return value

    def put(match: re.Match[str]) -> str:
        if match.group(1) is not None:
            return f"{{{match.group(1)}}}"
        name = match.group(2)
        if name not in variables:
            raise RecipeError(f"{where}: no variable is called {name!r}{nearest(name, variables)}")
        found = variables[name]
        return json.dumps(found) if isinstance(found, bool) else str(found)

    whole = _VARIABLE.fullmatch(value)
    if whole is not None and whole.group(2) in variables:
        return variables[whole.group(2)]  # alone, a variable keeps its type
    return _VARIABLE.sub(put, value)


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return re.sub(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", r"{{\1}}", value) if isinstance(value, str) else value


def _marks(annotation: Any) -> list[Any]:
    marks = list(getattr(annotation, "__metadata__", ()))
    for part in get_args(annotation):
        marks += _marks(part)
    return marks


def _dump(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain, tables, lists = {}, {}, {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            tables[key] = value
        elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
            lists[key] = value
        elif value is not None:
            plain[key] = value
    lines += [f"{_key(key)} = {_value(value, (*path, key))}" for key, value in plain.items()]
    for key, value in tables.items():
        lines += ["", f"[{'.'.join(_key(part) for part in (*path, key))}]"]
        _dump(value, (*path, key), lines)
    for key, items in lists.items():
        for item in items:
            lines += ["", f"[[{'.'.join(_key(part) for part in (*path, key))}]]"]
            _dump(item, (*path, key), lines)


def _key(key: str) -> str:
    return key if _NAME.fullmatch(key) else _text(key)


def _value(value: Any, path: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "nan" if math.isnan(value) else f"{'-' * (value < 0)}inf"
    if isinstance(value, str | Path):
        return _text(str(value))
    if isinstance(value, datetime | date | clock):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item, path) for item in value)}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(k)} = {_value(v, path)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    raise RecipeError(f"{'.'.join(path)} is {value!r}: {type(value).__name__} cannot stand in TOML")


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but for the delete character; ensure_ascii would write surrogate pairs.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
