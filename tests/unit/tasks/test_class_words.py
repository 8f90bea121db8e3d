"""Labels in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError, UsageError
from placevec.tasks.class_words import caption_words, label_words, prompts, read_names

KNOWN = caption_words([("Two tennis courts beside a mobile home park .", "Storage tanks near the overpass .")])


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("tenniscourt", "tennis court"),  # known with an s
        ("mobilehomepark", "mobile home park"),
        ("storagetanks", "storage tanks"),
        ("overpass", "overpass"),
        ("Dense_Residential", "dense residential"),
        ("SparseResidential-2", "sparse residential"),
        ("chaparral", "chaparral"),  # no known words in it: as it is
        ("tennisfoo", "tennisfoo"),
        ("7", "7"),
    ],
)
def test_labels_are_parted_at_known_words(label: str, words: str) -> None:
    assert label_words(label, KNOWN) == words


@given(st.lists(st.sampled_from(sorted(word for word in KNOWN if len(word) > 2)), min_size=1, max_size=4))
def test_glued_words_come_apart_into_known_ones(words: list[str]) -> None:
    found = label_words("".join(words), KNOWN).split()
    assert "".join(found) == "".join(words)
    assert len(found) <= len(words)
    assert all(word in KNOWN or f"{word}s" in KNOWN for word in found)


def test_names_can_be_given(tmp_path: Path) -> None:
    lines, objects, bad = tmp_path / "n.csv", tmp_path / "n.json", tmp_path / "bad.csv"
    lines.write_text("denseresidential,a dense residential area\ntenniscourt, tennis courts\n\n")
    objects.write_text('{"denseresidential": "houses"}')
    bad.write_text("tenniscourt\n")
    assert read_names(lines) == {"denseresidential": "a dense residential area", "tenniscourt": "tennis courts"}
    assert prompts(["denseresidential", "overpass", "overpass"], read_names(objects), KNOWN) == {
        "denseresidential": "houses",
        "overpass": "overpass",
    }
    with pytest.raises(DataError, match="needs its words"):
        read_names(bad)
    with pytest.raises(UsageError, match="cannot be read"):
        read_names(tmp_path / "none.csv")
    objects.write_text("{")
    with pytest.raises(DataError, match="no JSON"):
        read_names(objects)
    with pytest.raises(DataError, match="two labels are called 'tennis court'"):
        prompts(["tennis_court", "tenniscourt"], None, KNOWN)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_bytes(b"\xff\xfeforest,trees\n")
    with pytest.raises(DataError, match="no text in UTF-8"):
        read_names(path)
