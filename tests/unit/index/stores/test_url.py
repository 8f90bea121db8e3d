"""Addresses of stores: their parts, their names, and secrets that are not shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import UsageError
from placevec.index.stores import is_store_url, open_store, parse_store_url


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "name"),
    [
        ("qdrant://localhost:6333/places", "qdrant", "localhost", 6333, "places"),
        ("qdrants://x.cloud.qdrant.io/a%20b", "qdrants", "x.cloud.qdrant.io", None, "a b"),
        ("qdrant://:memory:/places", "qdrant", ":memory:", None, "places"),
        ("qdrant://[::1]:6333/places", "qdrant", "::1", 6333, "places"),
        ("postgresql://me@db.org/geo?table=places", "postgresql", "db.org", None, "places"),
        ("lance:///data/places.lance", "lance", "", None, "places.lance"),
    ],
)
def test_parts(text: str, scheme: str, host: str, port: int | None, name: str) -> None:
    url = parse_store_url(text)
    assert (url.scheme, url.host, url.port, url.name) == (scheme, host, port, name)
    assert parse_store_url(url.full) == url


@pytest.mark.parametrize(
    ("text", "trial"),
    [
        ("qdrant://localhost:6333/places", "qdrant://localhost:6333/places-test"),
        ("postgresql://h/geo?table=places", "postgresql://h/geo?table=places-test"),
        ("lance:///data/places.lance", "lance:///data/places-test.lance"),
        ("qdrant://h/places-test", "qdrant://h/places-test-test"),
    ],
)
def test_the_trial_beside_it(text: str, trial: str) -> None:
    url = parse_store_url(text)
    assert url.trial().shown == trial
    assert url.trial().is_trial
    assert url.trial().name != url.name


_WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=12)


@given(_WORDS, st.sampled_from(["postgresql://me:{}@h/geo?table=t", "postgresql://h/geo?table=t&password={}"]))
def test_no_secret_is_shown(secret: str, form: str) -> None:
    from urllib.parse import quote

    secret = f"s3cret{secret}"
    url = parse_store_url(form.format(quote(secret, safe="")))
    for text in (url.shown, str(url), repr(url), f"{url.trial()}"):
        assert "s3cret" not in text
    assert secret in (url.password, url.query.get("password"))
    assert parse_store_url(url.full) == url


@pytest.mark.parametrize("text", ["places.parquet", "", "qdrant:/x", "://x"])
def test_what_is_no_address(text: str) -> None:
    assert not is_store_url(text)
    with pytest.raises(UsageError, match="qdrant://localhost:6333/places"):
        parse_store_url(text)


@pytest.mark.parametrize("text", ["qdrant://localhost:6333", "qdrant://me:hunter2@localhost:many/x", "qdrant://h:1/"])
def test_an_address_without_a_name_or_with_a_bad_port(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_store_url(text)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_kind_or_option() -> None:
    assert is_store_url("qdrant://localhost/x")
    assert not is_store_url("s3://bucket/x.lance")
    with pytest.raises(UsageError, match="no store is called 'mysql'; known: lance, postgresql, qdrant"):
        open_store("mysql://h/x")
    with pytest.raises(UsageError, match="no option 'colour'"):
        open_store("qdrant://:memory:/x", colour="red")
    with pytest.raises(UsageError, match="int8 or none"):
        open_store("qdrant://:memory:/x", quantize="int4")
    with pytest.raises(UsageError, match="name of a collection"):
        open_store("qdrant://:memory:/a*b")
