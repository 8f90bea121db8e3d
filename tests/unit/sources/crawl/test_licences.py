"""Licences by number, name and what they allow."""

from __future__ import annotations

import pytest

from crawl_server import LICENCES
from placevec.errors import UsageError
from placevec.sources.crawl.licences import Licence, chosen, read_licences

ALL = tuple(Licence.of(str(number), name, url) for number, name, url in LICENCES)


def codes(*wanted: str) -> list[str]:
    return [one.code for one in chosen(ALL, wanted)]


def test_codes_are_those_of_spdx_where_it_has_them() -> None:
    assert [one.code for one in ALL] == [
        "all-rights-reserved",
        "CC-BY-NC-SA-2.0",
        "CC-BY-NC-2.0",
        "CC-BY-NC-ND-2.0",
        "CC-BY-2.0",
        "CC-BY-SA-2.0",
        "CC-BY-ND-2.0",
        "no-known-copyright",
        "us-government-work",
        "CC0-1.0",
        "PDM-1.0",
    ]


def test_reuse_leaves_out_what_may_not_be_changed() -> None:
    taken = codes("reuse")
    assert "all-rights-reserved" not in taken
    assert not any("ND" in code for code in taken)
    assert len(taken) == 8
    assert not any("NC" in code for code in codes("open"))
    assert len(codes("open")) == 6
    assert len(codes("all")) == 11


def test_licences_by_name_with_and_without_version_and_by_number() -> None:
    assert codes("cc-by") == ["CC-BY-2.0"]
    assert codes("CC-BY-SA-2.0", "9") == ["CC-BY-SA-2.0", "CC0-1.0"]


def test_a_licence_that_flickr_adds_is_in_no_set_but_all() -> None:
    new = Licence.of("42", "Some New Thing", "https://example.org/new")
    assert new.code == "some-new-thing"
    assert not new.reusable
    four = Licence.of("11", "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/")
    assert four.code == "CC-BY-4.0"
    assert four.open


def test_one_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match=r"'gpl'; choose of: reuse, open, all, all-rights-reserved, CC-BY-NC"):
        codes("gpl")
    with pytest.raises(UsageError, match="no licence is taken"):
        chosen(ALL[:1], ["reuse"])


@pytest.mark.parametrize("answer", [{}, {"licenses": {}}, {"licenses": {"license": []}}, [], None, {"licenses": 3}])
def test_an_answer_that_lists_none(answer) -> None:
    with pytest.raises(ValueError, match="no list"):
        read_licences(answer)
