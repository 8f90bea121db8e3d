"""`info` of stencils, patch sets, and of what stands in object storage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
from rasterio.transform import Affine

import patch_fakes as fakes
from conftest import make_table
from placevec.area import StudyArea
from placevec.cli.main import run
from placevec.errors import FormatError, JobError
from placevec.objects import Remote, located
from placevec.sources.stencil import is_stencil, open_stencil
from placevec.table import write_table
from placevec.tasks.info import info
from placevec.tasks.inputs import Input
from placevec.tasks.patches import area_patches
from placevec.tasks.stencil import make_stencil
from s3_server import BUCKET, Server, running


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with running(monkeypatch) as found:
        yield found


@pytest.fixture
def stencil(tmp_path: Path) -> Path:
    area = StudyArea("here", shapely.box(2.76, 41.56, 2.84, 41.62), (8,)).save(tmp_path / "here")
    assert area.folder is not None
    make_stencil(area.folder, tmp_path / "s.parquet", resolution=8)
    return tmp_path / "s.parquet"


def test_a_stencil_tells_its_card(stencil: Path) -> None:
    facts = info(stencil)
    stored = open_stencil(stencil)
    assert (facts["kind"], facts["rows"], facts["parts"]) == ("stencil", stored.num_rows, len(stored.parts))
    assert (facts["mask"], facts["resolution"], facts["cells"]) == ("here", 8, stored.card.cells)
    assert facts["fingerprint"] == stored.fingerprint()


def test_a_patch_set_tells_what_it_is_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cover = fakes.classes(200, 200)
    cover[:60] = 0
    fakes.write(tmp_path / "cover.tif", cover, Affine(0.0005, 0, 2.7, 0, -0.0005, 41.7), "EPSG:4326", nodata=0)
    (tmp_path / "tiny.json").write_text(json.dumps(fakes.TABLE.to_json()))
    StudyArea("here", shapely.box(2.72, 41.62, 2.78, 41.69), (8,)).save(tmp_path / "here")
    layer = f"cover={tmp_path}/cover.tif,classes={tmp_path}/tiny.json"
    made = area_patches(tmp_path / "p", [layer], ground_m=800, pixels=8, area=tmp_path / "here").written
    facts = info(tmp_path / "p")
    assert (facts["kind"], facts["rows"], facts["skipped"]) == ("patches", made.written, made.skipped)
    assert sum(facts["skipped_because"].values()) == made.skipped > 0
    assert facts["layers"] == [{"name": "cover", "classes": "tiny", "resampling": "nearest"}]
    assert (facts["ground_m"], facts["pixels"]) == (800, 8)
    assert [ref["href"] for ref in facts["sources"]] == ["cover.tif"]
    assert run(["info", str(tmp_path / "p")]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "patches"
    manifest = json.loads((tmp_path / "p" / "patches.json").read_text())
    (tmp_path / "p" / "patches.json").write_text(json.dumps({**manifest, "complete": False}))
    with pytest.raises(JobError, match="not complete"):
        info(tmp_path / "p")


def test_tables_and_stencils_of_object_storage(
    server: Server, stencil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table(9)
    for name in ("t.parquet", "t.lance"):
        write_table(table, f"s3://{BUCKET}/deep/{name}")
        facts = info(f"s3://{BUCKET}/deep/{name}")
        assert (facts["kind"], facts["rows"], facts["fingerprint"]) == ("table", 9, table.fingerprint())
        assert facts["path"] == f"s3://{BUCKET}/deep/{name}"
    # A command line makes one slash of two.
    assert run(["info", f"s3:/{BUCKET}/deep/t.parquet"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == f"s3://{BUCKET}/deep/t.parquet"
    there = located(f"s3://{BUCKET}/deep/s.parquet")
    assert isinstance(there, Remote)
    there.upload(stencil)
    assert info(str(there)) == {**info(stencil), "path": str(there)}
    assert not is_stencil(f"s3://{BUCKET}/deep/t.parquet")
    assert not is_stencil(f"s3://{BUCKET}/deep/nothing.parquet")
    assert not is_stencil("https://example.org/s.parquet")
    with pytest.raises(FormatError, match="nothing.parquet"):
        info(f"s3://{BUCKET}/deep/nothing.parquet")


def test_places_of_object_storage_are_read_like_those_of_a_disk(server: Server, stencil: Path) -> None:
    there = located(f"s3://{BUCKET}/s.parquet")
    assert isinstance(there, Remote)
    there.upload(stencil)
    for text in (str(there), str(Path(str(there)))):
        given = Input(on=text)
        assert given.parted
        assert given.source().fingerprint() == Input(on=str(stencil)).source().fingerprint()
    write_table(make_table(9), f"s3://{BUCKET}/t.parquet")
    assert len(Input(on=f"s3://{BUCKET}/t.parquet").places()) == 9
    csv = located(f"s3://{BUCKET}/p.csv")
    assert isinstance(csv, Remote)
    csv.write_bytes(b"lon,lat\n1,2\n3,4\n")
    np.testing.assert_array_equal(Input(on=str(csv)).places().lon, [1, 3])
