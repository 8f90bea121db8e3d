"""Lists of captions that stand as text in a cell: Python's, JSON's and NumPy's way of writing them."""

from __future__ import annotations

import json
import re

# 'it is' or "it's", with what a backslash keeps; or nothing at all.
_ITEM = re.compile(r"""[uU]?(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")|(None|nan|null)""", re.DOTALL)
_BETWEEN = re.compile(r"\s*,\s*|\s+")  # NumPy puts items side by side, and lines between them
_ARRAY = re.compile(r"array\(\s*(\[.*\])\s*(?:,\s*dtype=[^()]*)?\)", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_SHORT = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "\n": ""}
_LITERAL = "'\"\\/"


def quoted_list(cell: str) -> list[str | None] | None:
    r"""The strings of a list that was written as text, None if the text is no such list.

    Read are ``["a", "b"]`` (JSON), ``['a', "it's"]`` (Python) and ``['a' "it's"\n 'c']`` (NumPy, also within
    ``array(..., dtype=object)``). Nothing is ever evaluated. None within the list stands for None, nan and null.

    Args:
        cell: the text.
    """
    text = cell.strip()
    array = _ARRAY.fullmatch(text)
    if array is not None:
        text = array[1]
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return _items(text[1:-1].strip())
    return items if all(item is None or isinstance(item, str) for item in items) else None


def _items(text: str) -> list[str | None] | None:
    found: list[str | None] = []
    at = 0
    while at < len(text):
        item = _ITEM.match(text, at)
        if item is None:
            return None
        if item[3] is not None:
            found.append(None)
        else:
            plain = _unescaped(item[1] if item[1] is not None else item[2])
            if plain is None:
                return None
            found.append(plain)
        at = item.end()
        if at < len(text):
            between = _BETWEEN.match(text, at)
            if between is None:
                return None
            at = between.end()
    return found


def _unescaped(text: str) -> str | None:
    """What Python would make of the inside of a literal, None where it would refuse it."""
    if "\\" not in text:
        return text
    try:
        return _ESCAPE.sub(_escape, text)
    except ValueError:  # beyond the last character that there is
        return None


def _escape(match: re.Match[str]) -> str:
    kind = match[1]
    if kind in _SHORT:
        return _SHORT[kind]
    if kind in _LITERAL:
        return kind
    if kind[0] in "xuU" and len(kind) > 1:
        return chr(int(kind[1:], 16))
    if kind.isdigit() and kind.isascii():
        return chr(int(kind, 8))
    return "\\" + kind
