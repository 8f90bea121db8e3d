"""The catalogue: order of look-up, consent, damage."""

import os
from pathlib import Path

import numpy as np
import pytest

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources import catalog, earth
from placevec.sources.datasets import DATASETS, DataFile, Dataset

REAL = os.environ.get("PLACEVEC_DATA", "")
real = pytest.mark.skipif(not REAL, reason="PLACEVEC_DATA is not set")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty PLACEVEC_DATA, an empty cache, and a dataset of one file that holds "hello"."""
    toy = Dataset(
        "toy", "t", "s", "CC0", "me",
        (DataFile("toys/a.txt", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "https://example.invalid/a.txt"),),
    )  # fmt: skip
    monkeypatch.setitem(catalog._BY_NAME, "toy", toy)
    monkeypatch.setenv("PLACEVEC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(catalog, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path


def put(path, text="hello"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_named_folder_comes_before_the_cache(folders):
    cached = put(folders / "cache/toys/a.txt")
    assert catalog.fetch("toy") == {"a.txt": cached}
    named = put(folders / "data/toys/a.txt")
    assert catalog.fetch("toy") == {"a.txt": named}
    assert catalog.verify("toy") == [("toys/a.txt", "ok")]
    assert catalog.is_here("toy")


def test_nothing_is_fetched_without_consent(folders, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch, "retrieve", lambda *a, **k: pytest.fail("asked the network"))
    with pytest.raises(DataError, match="placevec data fetch toy"):
        catalog.fetch("toy")
    assert catalog.verify("toy") == [("toys/a.txt", "missing")]


def test_with_consent_it_goes_to_the_cache(folders, monkeypatch):
    import pooch

    def retrieve(url, known_hash, fname, path):
        assert url == "https://example.invalid/a.txt"
        assert known_hash.startswith("sha256:2cf24dba")
        return str(put(Path(path) / fname))

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert catalog.fetch("toy", allow_network=True) == {"a.txt": folders / "cache/toys/a.txt"}


@pytest.mark.parametrize(
    ("error", "words"), [(ValueError("hash"), "another SHA-256"), (OSError("no route"), "no route")]
)
def test_a_failed_download_says_what_to_do(folders, monkeypatch, error, words):
    import pooch

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(DataError, match=words):
        catalog.fetch("toy", allow_network=True)


def test_damage_is_found(folders):
    put(folders / "data/toys/a.txt", "hallo")
    assert catalog.verify("toy") == [("toys/a.txt", "damaged")]
    with pytest.raises(DataError, match="damaged"):
        catalog.fetch("toy")


def test_a_manifest_cannot_lead_out_of_the_folder(folders, monkeypatch):
    monkeypatch.setitem(
        catalog._BY_NAME, "ucm2", Dataset("ucm2", "", "", "", "", (DataFile("u/M", "0"),), manifest="u/M")
    )
    put(folders / "data/u/M", "aa  ../../secret\nbb  /etc/passwd\ncc  ok.jpg\n")
    assert [name for name, _ in catalog.verify("ucm2")] == ["u/M", "u/images/ok.jpg"]


def test_unknown_names_and_entries_without_address(folders):
    with pytest.raises(UsageError, match="blue-marble"):
        catalog.fetch("blue-marbel")
    with pytest.raises(DataError, match="no public address"):
        catalog.fetch("valencia", allow_network=True)


def test_every_entry_is_complete():
    names = {d.name for d in catalog.list_datasets()}
    assert len(names) == len(DATASETS) == 20
    for each in DATASETS:
        assert each.licence
        assert each.attribution
        assert each.about
        for file in each.files:
            assert len(file.sha256) == 64
            assert file.path.startswith(each.folder + "/")
            assert not file.url or file.url.startswith("https://")
    (ref,) = catalog.source_refs("blue-marble")
    assert "NASA" in ref.attribution
    assert ref.href.startswith("https://")


@pytest.mark.real
@real
def test_the_real_files_are_whole():
    report = catalog.verify()
    assert len(report) > 2100
    # What npm has stands in nobody's folder: it is fetched.
    fetched = {f.path for d in DATASETS for f in d.files if f.npm}
    assert {state for path, state in report if path not in fetched} == {"ok"}
    sums = dict(reversed(line.split("  ./")) for line in (Path(REAL) / "SHA256SUMS").read_text().splitlines())
    listed = {f.path: f.sha256 for d in DATASETS for f in d.files if not f.path.endswith("SHA256SUMS")}
    listed = {path: sha256 for path, sha256 in listed.items() if path not in fetched or path in sums}
    assert listed == sums


@pytest.mark.real
@real
def test_elevation_and_lights_lie_where_they_should():
    places = {
        "Everest": (86.925, 27.988), "Challenger Deep": (142.2, 11.35), "Andes": (-67.0, -20.0),
        "Amazon": (-60.0, -3.0), "Pacific": (180.0, 0.0), "South Pole": (0.0, -90.0), "Greenwich": (0.0, 51.5),
    }  # fmt: skip
    where = LonLat(*(np.array(column) for column in zip(*places.values(), strict=True)))
    height = dict(zip(places, earth.elevation(where), strict=True))
    assert height["Everest"] > 4500
    assert height["Challenger Deep"] < -6000
    assert height["Andes"] > 3000
    assert 0 < height["Amazon"] < 300
    assert height["Pacific"] < -4000
    assert 2000 < height["South Pole"] < 3500
    assert abs(height["Greenwich"]) < 200
    bright = earth.lights(LonLat(np.array([2.35, -60.0, -30.0]), np.array([48.85, -5.0, 0.0])))
    assert bright[0] > 200
    assert bright[1:].max() < 30


@pytest.mark.real
@real
def test_elevation_is_continuous_where_the_file_begins():
    lon = 20 + np.linspace(-1, 1, 401)
    height = earth.elevation(LonLat(lon, np.full(401, 45.0)))
    assert np.isfinite(height).all()
    assert np.abs(np.diff(height)).max() < 15
