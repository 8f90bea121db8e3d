"""The category tree: its form, and what tags make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_oracle import slow_leaf
from placevec.errors import UsageError
from placevec.sources.osm import CATEGORIES, read_tree


def leaf(**tags: str) -> str | None:
    row = CATEGORIES.leaf_of(tuple(tags.get(key.replace(":", "__")) for key in CATEGORIES.keys))
    return None if row < 0 else CATEGORIES.names[row]


def test_the_tree_is_whole() -> None:
    assert 80 <= len(CATEGORIES) <= 130
    assert {"food", "shop", "health", "education", "culture", "sport", "transport", "finance"} <= set(CATEGORIES.groups)
    assert {"public", "tourism", "religion", "green"} <= set(CATEGORIES.groups)
    assert len(CATEGORIES.group_of) == len(CATEGORIES)
    single = [one for each in CATEGORIES.leaves for one in each.tags if len(one) == 1]
    assert len(set(single)) == len(single), "a tag stands in two leaves"
    assert all(name == name.lower() and name.isidentifier() for name in (*CATEGORIES.names, *CATEGORIES.groups))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"amenity": "cafe"}, "cafe"),
        ({"amenity": "place_of_worship", "religion": "muslim"}, "mosque"),
        ({"amenity": "place_of_worship"}, "other_worship"),
        ({"shop": "whatever"}, "other_shop"),
        ({"shop": "no"}, None),
        ({"shop": "vacant"}, None),
        ({"amenity": "parking;fuel"}, "parking"),
        ({"amenity": "hospital", "healthcare": "clinic"}, "hospital"),
        ({"amenity": "pharmacy", "shop": "chemist"}, "pharmacy"),
        ({"highway": "bus_stop", "public_transport": "platform"}, "bus_stop"),
        ({"public_transport": "platform", "bus": "yes"}, "bus_stop"),
        ({"public_transport": "platform"}, None),
        ({"leisure": "swimming_pool"}, None),  # most of them are in gardens
        ({"leisure": "swimming_pool", "access": "yes"}, "swimming"),
        ({"office": "lawyer"}, "lawyer"),
        ({"natural": "tree"}, None),
        ({}, None),
    ],
)
def test_what_tags_are(tags: dict[str, str], expected: str | None) -> None:
    assert leaf(**tags) == expected


_VALUES = sorted({value for each in CATEGORIES.leaves for one in each.tags for _, value in one} | {"no", "vacant", "x"})


@given(st.dictionaries(st.sampled_from(CATEGORIES.keys), st.sampled_from(_VALUES), max_size=4))
def test_the_tree_against_the_slow_form(tags: dict[str, str]) -> None:
    if "highway" not in tags:
        row = CATEGORIES.leaf_of(tuple(tags.get(key) for key in CATEGORIES.keys))
        assert (None if row < 0 else CATEGORIES.names[row]) == slow_leaf(tags)


def test_trees_of_ones_own() -> None:
    tree = read_tree({"plants": "tree natural=tree\nshrub natural=shrub|hedge&height=low"})
    assert tree.names == ("tree", "shrub")
    assert tree.keys == ("natural", "height")
    assert [tree.leaf_of(values) for values in (("tree", None), ("hedge", None), ("hedge", "low"))] == [0, -1, 1]
    with pytest.raises(UsageError, match="is no leaf"):
        read_tree({"plants": "tree"})
    with pytest.raises(UsageError, match="two leaves tree"):
        read_tree({"plants": "tree natural=tree\ntree natural=shrub"})
    with pytest.raises(UsageError, match="no leaf"):
        read_tree({})


def test_the_page_tells_the_tree() -> None:
    page = (Path(__file__).parents[4] / "docs/howto/osm.md").read_text(encoding="utf-8")
    assert f"{len(CATEGORIES)} leaves in {len(CATEGORIES.groups)} groups" in page
    for group in CATEGORIES.groups:
        leaves = ", ".join(leaf.name for leaf in CATEGORIES.leaves if leaf.group == group)
        assert f"| {group} | {leaves} |" in page
