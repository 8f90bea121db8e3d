"""Lists of captions as text: against those who write them, and no evaluation."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.sources.captions.quoted import quoted_list

LISTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=6)


@given(LISTS)
def test_python_json_and_numpy_are_read_back(captions: list[str]) -> None:
    assert quoted_list(repr(captions)) == captions
    assert quoted_list(json.dumps(captions)) == captions
    assert quoted_list(json.dumps(captions, ensure_ascii=False, indent=1)) == captions
    array = np.array(captions, dtype=object)
    assert quoted_list(str(array)) == captions
    assert quoted_list(repr(array)) == captions


@given(st.text(alphabet="[]'\" ,\\nxua01\n", max_size=25))
def test_it_never_disagrees_with_python(cell: str) -> None:
    """What Python reads as a list of strings with commas between them is read so, or not at all."""
    found = quoted_list(cell)
    try:
        truth = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError):
        return
    separate = isinstance(truth, list) and all(isinstance(item, str) for item in truth)
    if found is not None and separate and len(found) == len(truth):
        assert found == truth


def test_numpy_side_by_side_over_several_lines() -> None:
    cell = """['the airport is very large.' 'next to the airport is the green grass.'
 "there's a lot of bare ground around it." 'a "quoted" word'
 'it\\'s both "kinds"']"""
    assert quoted_list(cell) == [
        "the airport is very large.",
        "next to the airport is the green grass.",
        "there's a lot of bare ground around it.",
        'a "quoted" word',
        'it\'s both "kinds"',
    ]


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("[]", []),
        ("  [ 'a' , 'b', ]  ", ["a", "b"]),
        ("['a', None, nan]", ["a", None, None]),
        ('["a", null]', ["a", None]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("[u'a\\u00e9\\x41\\101\\n']", ["aéAA\n"]),
        ("['\\q']", ["\\q"]),
        ("a caption", None),
        ("[a] plane", None),
        ("['a'] and more", None),
        ("['a''b']", None),
        ("['a' + 'b']", None),
        ("['a', 1]", None),
        ("[1, 2]", None),
        ("['a',, 'b']", None),
        ("['a", None),
        ("['\\U00110000']", None),
        ("[['a'], ['b']]", None),
        ("[__import__('os').getcwd()]", None),
        ("", None),
        ("[" * 100_000 + "]" * 100_000, None),
    ],
)
def test_what_is_a_list_and_what_is_not(cell: str, found: list[str | None] | None) -> None:
    assert quoted_list(cell) == found


def test_long_cells_take_no_longer_than_they_are() -> None:
    assert quoted_list("['" + "\\'" * 200_000) is None
    assert quoted_list("[" + "'a' " * 50_000 + "]") == ["a"] * 50_000
    assert quoted_list("[" + " " * 100_000 + "x]") is None
