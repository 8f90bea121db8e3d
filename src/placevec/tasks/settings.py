"""Settings of a training by their paths, as a command line and a sweep name them: `nn.capacity`, `loop.seed`.

A path is that of the training's JSON (`encoder.nn.capacity`); what stands in `encoder` may be named without that word.
"""

from __future__ import annotations

import copy
import importlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from placevec.config import Scalar, nearest
from placevec.errors import UsageError

TRAININGS = {
    "image": "placevec.train.selfsup:ImageTraining",
    "location": "placevec.train.contrastive:LocationTraining",
    "image-text": "placevec.train.pairs:PairTraining",
    "landscape": "placevec.train.landscape:LandscapeTraining",
    "locate": "placevec.train.locate:LocateTraining",
    "fuse": "placevec.train.fuse:FuseTraining",
}
"""The settings of each objective: the dataclass, imported only when it is asked for, because torch comes with it."""

WHOLE = "encoder"  # the part that holds position, nn, net and dims


def full_settings(objective: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a training as JSON: `settings` laid over the defaults.

    Raises:
        UsageError: an unknown objective or setting, or a value that is not allowed.
    """
    training = _training(objective)
    full: dict[str, Any] = training.from_json(laid_over(training().to_json(), settings)).to_json()
    return full


def with_settings(objective: str, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with further ones, given by their paths; checked as a whole.

    Args:
        objective: "image", "location", "image-text", "landscape", "locate" or "fuse".
        settings: as `tasks.train.train` takes them.
        changes: values by path. A `kind` comes first: a part of another kind loses the settings of the old one, but
            for a kind that is a frame around another part, such as "local": that takes the old one in as its
            `encoding`.

    Raises:
        UsageError: a path that does not exist (the message names the nearest), or a value of the wrong type or range.
    """
    changed: dict[str, Any] = _plain(settings)
    if objective == "image" and "net" in changed:  # the network may stand beside the encoder that it belongs to
        encoder = changed.setdefault(WHOLE, {})
        encoder["net"] = {**changed.pop("net"), **encoder.get("net", {})}
    full, whole = _shape(objective, changed)
    for path, value in sorted(changes.items(), key=_kinds_first):
        where = find(full, path, loose=not whole)
        _check_type(path, _at(full, where), value)
        if where[-1] == "kind" and len(where) > 1 and _at(full, where) != value:
            _change_kind(objective, changed, full, where[:-1], value)
        else:
            _put(changed, full, where, value)
        full, whole = _shape(objective, changed)
        if whole and not isinstance(value, Mapping | list | tuple) and _at(full, where) != value:
            raise UsageError(f"{path} = {value!r} cannot be set: it is always {_at(full, where)!r}")
    full_settings(objective, changed)
    return changed


def find(full: Mapping[str, Any], path: str, *, loose: bool = False) -> tuple[str, ...]:
    """The path from the root of all settings; UsageError, with the nearest that exists, if there is none.

    With `loose` a new name may end the path within a part, for `full` is not complete yet.
    """
    parts = tuple(path.split("."))
    for where in (parts, (WHOLE, *parts)):
        if _exists(full, where, loose):
            return where
    raise UsageError(f"no setting is called {path!r}{nearest(path, names(full))}")


def names(full: Mapping[str, Any]) -> list[str]:
    """The paths of all settings, as short as they may be written."""
    return [".".join(where).removeprefix(f"{WHOLE}.") for where in _leaves(full)]


def short_name(where: Sequence[str]) -> str:
    """A path of `find` as people write it."""
    return ".".join(where[1:] if where[0] == WHOLE else where)


def laid_over(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over defaults, table by table; a part of another `kind` brings its own settings, none is kept."""
    merged = dict(defaults)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = value
        if isinstance(value, Mapping) and isinstance(old, Mapping) and value.get("kind") in (None, old.get("kind")):
            merged[name] = laid_over(old, value)
    return merged


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """``nn.capacity=512`` and its like as values by path; a value is read as TOML, else as plain text.

    Raises UsageError if there is no path or no value, or a path stands twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        path, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not path or not value:
            raise UsageError(f"--config {text!r} sets nothing: write it as SETTING=VALUE, such as nn.capacity=512")
        if path in found:
            raise UsageError(f"--config sets {path!r} twice: give it one value, or --sweep {path}=VALUE,VALUE")
        found[path] = _toml(value)
        if isinstance(found[path], str) and value[0] in "[{":
            raise UsageError(f"--config {text!r}: this is no list or table of TOML; write [1, 2] or {{kind = 'net'}}")
    return found


def parse_sweeps(texts: Sequence[str]) -> dict[str, list[Scalar]]:
    """``nn.capacity=512,1024`` and its like as values by path.

    Raises:
        UsageError: a path without values, an empty one among them, or a path that stands twice.
    """
    found: dict[str, list[Scalar]] = {}
    for text in texts:
        path, equals, listed = (part.strip() for part in text.partition("="))
        if not equals or not path or not listed:
            raise UsageError(f"--sweep {text!r} has no values: write it as nn.capacity=512,1024,2048")
        if path in found:
            raise UsageError(f"--sweep names {path!r} twice: write all its values after one =, with commas")
        found[path] = scalars(path, _listed(path, listed))
    return found


def flat_sweeps(values: Mapping[str, Any], above: str = "") -> dict[str, list[Scalar]]:
    """The sweep of a recipe: lists by path, where a path may be written as nested tables as well.

    Raises UsageError for what is no list, or an empty one.
    """
    found: dict[str, list[Scalar]] = {}
    for name, value in values.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            found |= flat_sweeps(value, f"{path}.")
        elif isinstance(value, list | tuple):
            found[path] = scalars(path, value)
        else:
            raise UsageError(f"sweep: {path} = {value!r} is no list: write its values as [{value}, ...]")
    return found


def scalars(path: str, values: Sequence[Any]) -> list[Scalar]:
    """The values of a sweep; UsageError if there are none, one stands twice, or one is no text, number, true or false.

    Raises:
        UsageError: see above.
    """
    if not values:
        raise UsageError(f"the sweep of {path!r} has no values: give at least one")
    for number, value in enumerate(values):
        if not isinstance(value, str | int | float):
            raise UsageError(f"the sweep of {path!r} has {value!r}: give texts, numbers, true or false")
        if any(value == old and isinstance(value, bool) == isinstance(old, bool) for old in values[:number]):
            raise UsageError(f"the sweep of {path!r} has {value!r} twice: give each value once")
    return list(values)


def _listed(path: str, text: str) -> list[Any]:
    try:
        value: list[Any] = tomllib.loads(f"value = [{text}]")["value"]
        return value
    except tomllib.TOMLDecodeError:
        pass  # a bare word among them, as in position.kind=local,wrap
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"the sweep of {path!r} has an empty value in {text!r}: write values with one comma between")
    return [_toml(part) for part in parts]


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _kinds_first(item: tuple[str, Any]) -> tuple[bool, int]:
    parts = item[0].split(".")
    return parts[-1] != "kind", len(parts) if parts[-1] == "kind" else 0


def _training(objective: str) -> Any:
    if objective not in TRAININGS:
        raise UsageError(f"no objective is called {objective!r}; known: {', '.join(TRAININGS)}")
    module, _, name = TRAININGS[objective].partition(":")
    return getattr(importlib.import_module(module), name)


def _shape(objective: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """All settings, and whether they can stand as they are; while a part lacks some yet, they only overlay."""
    try:
        return full_settings(objective, settings), True
    except UsageError:
        return laid_over(_training(objective)().to_json(), settings), False


def _exists(full: Any, where: Sequence[str], loose: bool) -> bool:
    node = full
    for number, part in enumerate(where):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return loose and number > 1 and isinstance(node, Mapping) and "kind" in node
    return True


def _at(full: Any, where: Sequence[str]) -> Any:
    node = full
    for part in where:
        if not isinstance(node, Mapping | list):
            return None
        node = node[int(part)] if isinstance(node, list) else node.get(part)
    return node


def _change_kind(
    objective: str, settings: dict[str, Any], full: Mapping[str, Any], where: Sequence[str], kind: Any
) -> None:
    old = _at(full, where)
    _put(settings, full, where, {"kind": kind})
    if _shape(objective, settings)[1]:
        return
    _put(settings, full, where, {"kind": kind, "encoding": copy.deepcopy(old)})
    if not _shape(objective, settings)[1]:
        _put(settings, full, where, {"kind": kind})


def _put(settings: dict[str, Any], full: Mapping[str, Any], where: Sequence[str], value: Any) -> None:
    node: Any = settings
    for number, part in enumerate(where[:-1]):
        if isinstance(node, list):
            node = node[int(part)]
            continue
        if node.get(part) is None:
            shape = _at(full, where[: number + 1])
            node[part] = copy.deepcopy(shape) if isinstance(shape, list) else {}
        node = node[part]
    node[int(where[-1]) if isinstance(node, list) else where[-1]] = value


def _check_type(path: str, old: Any, value: Any) -> None:
    """Refuse what can be told from the value that stands there; ranges and choices are the part's own business."""
    if isinstance(old, Mapping) and not isinstance(value, Mapping):
        inner = ", ".join(f"{path}.{name}" for name in old)
        raise UsageError(f"{path!r} is a group of settings, not one: set {inner}")
    for types, words in ((bool, "true or false"), (int | float, "a number"), (str, "a text")):
        if isinstance(old, types):
            fits = isinstance(value, types) and isinstance(value, bool) == isinstance(old, bool)
            if not fits:
                raise UsageError(f"{path} = {value!r}: the setting is {words} (by default {old!r})")
            return


def _leaves(node: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(value, (*above, name))
    elif isinstance(node, list) and node and isinstance(node[0], Mapping):
        for number, value in enumerate(node):
            yield from _leaves(value, (*above, str(number)))
    else:
        yield above
