"""Files of npm packages, with a program that stands in for npm."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest

from placevec.errors import DataError
from placevec.sources import catalog, npm
from placevec.sources.datasets import DataFile, Dataset

DATA = b'{"type": "Topology"}'
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """npm, as a program that copies a ready archive to where it is asked to pack, or fails."""

    def make(data: bytes | None = DATA, code: int = 0) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        archive = folder / "ready.tgz"
        with tarfile.open(archive, "w:gz") as out:
            if data is not None:
                info = tarfile.TarInfo("package/land.json")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
        program = folder / "npm"
        program.write_text(
            f"#!{sys.executable}\nimport shutil, sys\n"
            f"assert sys.argv[1:3] == ['pack', 'atlas@1.0.0'] and '--ignore-scripts' in sys.argv, sys.argv\n"
            f"shutil.copy({str(archive)!r}, sys.argv[sys.argv.index('--pack-destination') + 1] + '/atlas.tgz')\n"
            f"sys.exit({code})\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return tmp_path / "cache" / "earth" / "land.json"

    return make


def test_the_file_is_taken_from_the_package(fake) -> None:
    goal = fake()
    assert npm.fetch("atlas@1.0.0:land.json", SHA, goal)
    assert goal.read_bytes() == DATA


def test_another_content_or_none_is_refused(fake) -> None:
    for data in (b"{}", None):
        goal = fake(data)
        with pytest.raises(DataError, match=r"npm package atlas@1\.0\.0 does not hold"):
            npm.fetch("atlas@1.0.0:land.json", SHA, goal)
        assert not goal.exists()


def test_no_npm_or_a_failing_one_is_no_error(fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    goal = fake(code=1)
    assert not npm.fetch("atlas@1.0.0:land.json", SHA, goal)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert not npm.fetch("atlas@1.0.0:land.json", SHA, goal)


def test_the_catalogue_falls_back_to_it(fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pooch

    def fail(*args, **kwargs):
        raise OSError("no route")

    toy = Dataset(
        "toy", "t", "s", "CC0", "me",
        (DataFile("earth/land.json", SHA, "https://example.invalid/a", "atlas@1.0.0:land.json"),),
    )  # fmt: skip
    monkeypatch.setitem(catalog._BY_NAME, "toy", toy)
    monkeypatch.setenv("PLACEVEC_DATA", "")
    monkeypatch.setattr(catalog, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(pooch, "retrieve", fail)
    goal = fake()
    assert catalog.fetch("toy", allow_network=True) == {"land.json": goal}
    goal.unlink()
    fake(code=1)
    with pytest.raises(DataError, match="no route"):
        catalog.fetch("toy", allow_network=True)
