"""The journal remembers, whatever moment the crawl was killed at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import FormatError, UsageError
from placevec.sources.crawl.base import Found, Page
from placevec.sources.crawl.journal import DONE, NAME, Journal
from placevec.table import Skipped

SETTINGS = {"service": "flickr", "area": [1.0, 2.0], "since": None}


def page(*numbers: int) -> Page:
    photos = tuple(
        Found(f"flickr-{n}", f"flickr-{n}", 1.5, 2.5, f"https://a/{n}", attributes={"tags": "ä,b", "hour": 1.5})
        for n in numbers
    )
    return Page(photos, (Skipped("flickr-0", "search", "no coordinates"),), len(numbers), "2", False, 9, True)


def write(folder) -> None:
    with Journal(folder, SETTINGS) as journal:
        journal.keep_about({"stop": 5})
        journal.keep_page("0.", 0, "", page(1, 2, 3))
        journal.keep_photo("flickr-1", {"file": "photos/a", "sha256": "x", "tile": "0."})
        journal.keep_skip(Skipped("flickr-2", "download", "the file is empty"))
        journal.keep_page("1.", 0, "", page(4, 5))
        journal.keep_tile("0.", DONE)


def test_what_was_kept_is_there_again(tmp_path) -> None:
    write(tmp_path)
    with Journal(tmp_path, SETTINGS) as journal:
        assert journal.about == {"stop": 5}
        assert journal.pages["1.", 0, ""] == page(4, 5)
        ended = journal.pages["0.", 0, ""]  # of which only what counts is in memory
        assert [photo.id for photo in ended.photos] == ["flickr-1", "flickr-2", "flickr-3"]
        assert ended.photos[0].attributes == {}
        assert ended.next == "2"
        assert journal.kept["flickr-1"]["file"] == "photos/a"
        assert set(journal.skipped) == {"flickr-0", "flickr-2"}
        assert journal.tiles == {"0.": DONE}
        assert journal.hashes == {"x": "flickr-1"}
        journal.forget_pages("1.")
    with Journal(tmp_path, SETTINGS) as journal:
        assert list(journal.pages) == [("0.", 0, "")]


@given(cut=st.integers(0, 10_000))
def test_cut_anywhere_it_holds_what_was_whole(tmp_path_factory, cut) -> None:
    folder = tmp_path_factory.mktemp("cut")
    write(folder)
    whole = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(whole[: cut % (len(whole) + 1)])
    lines = (folder / NAME).read_bytes().count(b"\n")
    with Journal(folder, SETTINGS) as journal:
        journal.keep_tile("9.", DONE)  # what is written next begins a line of its own
    with Journal(folder, SETTINGS) as journal:
        assert journal.tiles["9."] == DONE
        assert ("flickr-1" in journal.kept) == (lines >= 4)
    assert (folder / NAME).read_bytes().startswith(whole[:30])


def test_a_damaged_line_is_named(tmp_path) -> None:
    write(tmp_path)
    lines = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
    for bad in (b"nonsense\n", b'{"is": "odd"}\n', b"[]\n", b'{"is": "photo"}\n'):
        (tmp_path / NAME).write_bytes(b"".join([*lines[:2], bad, *lines[2:]]))
        with pytest.raises(FormatError, match="line 3 is damaged"):
            Journal(tmp_path, SETTINGS)


def test_another_crawl_is_refused(tmp_path) -> None:
    write(tmp_path)
    with pytest.raises(UsageError, match="a crawl with another since"):
        Journal(tmp_path, {**SETTINGS, "since": "2015"})
    (tmp_path / NAME).write_text('{"is": "crawl", "version": 9, "settings": {}}\n')
    with pytest.raises(FormatError, match="line 1 is damaged"):
        Journal(tmp_path, SETTINGS)
