"""`explain`: a square of a colour is found, drawn and written, from files, GeoTIFFs and rows of tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evidence_fakes import Colours, Plain, painted, pair
from placevec.errors import DataError, FormatError, SpaceMismatch, UsageError
from placevec.features.evidence import Crops, Selection
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks.explain import explain, small
from placevec.tasks.explain_methods import Method, field_of
from placevec.tasks.explain_query import NEUTRAL, neutral_images
from placevec.tasks.relevance import known_shares

BLUE = (40, 8, 16)


def save(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return save(tmp_path / "picture.png", painted(64, blue=BLUE, red=(8, 40, 8)))


def geotiff(
    path: Path, image: np.ndarray, crs: str = "EPSG:32629", at: tuple[float, float] = (500_000, 4_300_000)
) -> Path:
    rasterio = pytest.importorskip("rasterio")
    from affine import Affine

    bands, height, width = image.shape
    step = 10.0 if crs.startswith("EPSG:326") else 0.01
    options = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": image.dtype.name}
    with rasterio.open(path, "w", crs=crs, transform=Affine(step, 0, at[0], 0, -step, at[1]), **options) as out:
        out.write(image)
    return path


@pytest.mark.parametrize("kind", ["dense", "crops", "grid"])
def test_every_method_finds_the_square(picture: Path, kind: Any) -> None:
    found = explain(picture, text="something blue", model=pair(), method=Method(kind, pool=0.05))
    best = found.regions[0]
    assert BLUE[0] <= best.peak[0] <= BLUE[0] + BLUE[2]
    assert BLUE[1] <= best.peak[1] <= BLUE[1] + BLUE[2]
    assert best.score > 1
    assert best.score > 1.5 * found.heat.whole
    assert 1 <= len(found.regions) <= 8
    if kind == "dense":
        box = (best.x, best.y, best.x + best.width, best.y + best.height)
        np.testing.assert_allclose(box, (40, 8, 56, 24), atol=6)


def test_parts_of_the_score_add_up_to_it(picture: Path) -> None:
    towers = pair()
    image = painted(64, blue=BLUE)
    field = field_of(towers, image, Method("dense", pool=0.0))
    query = towers.text.encode({"text": np.array(["blue"], dtype=object)})
    cosine = float(towers.encode({"image": image[None]})[0] @ query[0])
    assert field.scores(query).mean() == pytest.approx(cosine, abs=1e-5)
    assert field.score(query)[0] == pytest.approx(cosine, abs=1e-5)


def test_a_second_image_can_be_the_query(picture: Path, tmp_path: Path) -> None:
    red = save(tmp_path / "red.png", painted(32, red=(4, 4, 24)))
    found = explain(picture, like_image=red, model=pair(), method=Method(pool=0.05), out=tmp_path / "like.png")
    assert 8 <= found.regions[0].peak[0] <= 16
    assert 40 <= found.regions[0].peak[1] <= 48
    assert json.loads((tmp_path / "like.json").read_text())["query"] == {"image": "red.png"}
    assert (tmp_path / "like.png").stat().st_size > 5_000


def test_what_is_written_for_a_plain_image(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "evidence.png"
    found = explain(picture, text="blue", model=pair(), method=Method(pool=0.05), out=out)
    told = json.loads(out.with_suffix(".json").read_text())
    assert told["size"] == [64, 64]
    assert told["georeferenced"] is False
    assert [one["rank"] for one in told["regions"]] == list(range(1, len(found.regions) + 1))
    assert told["regions"][0]["box"] == [getattr(found.regions[0], key) for key in ("x", "y", "width", "height")]
    assert np.array(told["heat"]).shape == (8, 8)
    assert told["relevance"] is None
    assert any("no calibration" in note for note in told["notes"])
    assert not out.with_suffix(".geojson").exists()  # no false geometry
    with Image.open(out) as drawn:
        assert drawn.size[0] > 800
    with pytest.raises(UsageError, match="not georeferenced"):
        found.to_geojson()


def test_boxes_of_a_geotiff_lie_where_its_pixels_lie(tmp_path: Path) -> None:
    from pyproj import Transformer

    file = geotiff(tmp_path / "scene.tif", painted(64, blue=BLUE))
    out = tmp_path / "evidence.png"
    found = explain(file, text="blue", model=pair(), method=Method(pool=0.05), out=out)
    told = json.loads(out.with_suffix(".geojson").read_text())
    best, region = told["features"][0], found.regions[0]
    assert best["native"]["crs"] == "EPSG:32629"
    native = np.array(best["native"]["coordinates"][0])
    assert native[:, 0].min() == 500_000 + 10 * region.x
    assert native[:, 1].max() == 4_300_000 - 10 * region.y
    ring = np.array(best["geometry"]["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    x, y = ring[:, 0], ring[:, 1]
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0  # against the clock (RFC 7946)
    lon, lat = Transformer.from_crs("EPSG:32629", "OGC:CRS84", always_xy=True).transform(native[0, 0], native[0, 1])
    assert np.abs(ring - [lon, lat]).sum(axis=1).min() < 1e-6
    assert found.to_records()[0]["lon"] == pytest.approx(ring[:, 0].mean(), abs=1e-3)
    assert told["explanation"]["query"] == {"text": "blue"}


def test_a_box_across_the_antimeridian_is_cut_in_two(tmp_path: Path) -> None:
    file = geotiff(tmp_path / "fiji.tif", painted(64, blue=(16, 16, 32)), "EPSG:4326", (179.68, -16.0))
    found = explain(file, text="blue", model=pair(), method=Method(pool=0.05))
    shape = found.to_geojson()["features"][0]["geometry"]
    assert shape["type"] == "MultiPolygon"
    lons = np.array([point[0] for part in shape["coordinates"] for point in part[0]])
    assert lons.max() <= 180
    assert lons.min() >= -180


def tables(folder: Path, assets: list[str | None]) -> Path:
    vectors = np.tile(np.array([[1, 0, 0]], dtype=np.float32), (len(assets), 1))
    places = Places.create([f"p{i}" for i in range(len(assets))], asset=assets)
    write_table(EmbeddingTable.of(places, vectors, Space.asserted("colours", 3)), folder / "t.parquet")
    return folder / "t.parquet"


def test_a_row_of_a_table_leads_to_its_pixels(picture: Path, tmp_path: Path) -> None:
    scene = geotiff(tmp_path / "scene.tif", painted(64, blue=BLUE))
    table = tables(tmp_path, [str(picture), f"{scene}#xywh=32,0,32,32", "picture.png", None, "gone.png"])
    options: dict[str, Any] = {"text": "blue", "model": pair(), "method": Method(pool=0.05)}
    whole = explain(table, id="p0", **options)
    assert (whole.picture.name, whole.picture.pixels.shape) == ("p0", (3, 64, 64))
    part = explain(table, id="p1", **options)
    assert part.picture.pixels.shape == (3, 32, 32)
    assert 8 <= part.regions[0].peak[0] <= 24  # 32 pixels further left than in the whole scene
    corners = np.array(part.to_geojson()["features"][0]["native"]["coordinates"][0])
    assert corners[:, 0].min() == 500_000 + 10 * (32 + part.regions[0].x)
    assert (explain(table, id="p2", **options).picture.pixels == whole.picture.pixels).all()  # beside the table
    with pytest.raises(UsageError, match="number them from 1"):
        explain(table, id="p1", bands=[0], **options)
    with pytest.raises(DataError, match="has no asset"):
        explain(table, id="p3", **options)
    with pytest.raises(DataError, match="neither here nor beside"):
        explain(table, id="p4", **options)
    with pytest.raises(UsageError, match="no row"):
        explain(table, id="q", **options)
    with pytest.raises(UsageError, match="name the row"):
        explain(table, **options)
    other = pair()
    other._card = type(other.card)(**{**vars(other.card), "space": Space.asserted("other", 3)})
    with pytest.raises(SpaceMismatch):
        explain(table, id="p0", text="blue", model=other)


def test_with_relevance_the_bank_is_the_background(picture: Path) -> None:
    from placevec.measure.relevance import FEATURES, Backgrounds, Relevance

    rng = np.random.default_rng(0)
    towers = pair()
    names = [f"{colour} {word}" for colour in ("red", "green", "blue") for word in ("field", "roof", "lake house")]
    captions = towers.text.encode({"text": np.array(names, dtype=object)})
    bank = towers.encode({"image": rng.integers(0, 255, (40, 3, 16, 16), dtype=np.uint8)})
    grounds = Backgrounds(bank, captions, captions[:3])
    weights = np.linspace(0.1, 0.3, len(FEATURES))
    fitted = Relevance(grounds, np.zeros(len(weights)), np.ones(len(weights)), weights, 0.0, no_match=0.999)
    found = explain(picture, text="blue", model=pair(relevance=fitted.to_json()), method=Method(pool=0.05))
    image, text = towers.encode({"image": found.picture.pixels[None]}), found.query.vector[None]
    assert found.relevance == pytest.approx(float(fitted.probability(text, image)[0, 0]), abs=1e-3)
    assert 0 < found.relevance < 0.999
    assert found.notes[0].startswith("no good match: relevance")
    assert 40 <= found.regions[0].peak[0] <= 56
    # Words that say nothing are no reason to doubt a text, nor to trust one: relevance was fitted without them.
    odd = explain(picture, text="a picture of the 12345", model=pair(relevance=fitted.to_json()))
    assert odd.query.known == known_shares(towers.text, ["a picture of the 12345"])[0] == 0.0
    like = explain(picture, like_image=picture, model=pair(relevance=fitted.to_json()))
    assert like.relevance is None
    assert not any("calibration" in note for note in like.notes)


def test_what_is_said_about_a_query(picture: Path) -> None:
    long = explain(picture, text=" ".join(["blue"] * 30), model=pair())
    assert any("cut off" in note for note in long.notes)
    odd = explain(picture, text="blue 12345", model=pair())
    assert any("50% of the words" in note for note in odd.notes)
    nothing = explain(picture, text="green", model=pair(), method=Method(pool=0.05))
    assert nothing.regions[0].score < explain(picture, text="blue", model=pair()).regions[0].score


def test_the_selection_can_be_widened(picture: Path) -> None:
    few = explain(picture, text="blue", model=pair(), method=Method("grid"), selection=Selection(top=2, most=2))
    many = explain(picture, text="blue", model=pair(), method=Method("grid"), selection=Selection(share=0.01))
    assert len(few.regions) == 2
    assert len(few.regions) < len(many.regions) <= 8


def test_an_encoder_without_positions_is_explained_by_crops(picture: Path) -> None:
    with pytest.raises(UsageError, match="take the method crops"):
        explain(picture, text="blue", model=pair(Plain))
    method = Method("crops", crops=Crops((0.5, 0.25)))
    found, known = (explain(picture, text="blue", model=pair(kind), method=method) for kind in (Plain, Colours))
    np.testing.assert_allclose(found.heat.values, known.heat.values, atol=1e-6)


def test_what_is_refused(picture: Path, tmp_path: Path) -> None:
    towers = pair()
    with pytest.raises(UsageError, match="one query"):
        explain(picture, model=towers)
    with pytest.raises(UsageError, match="one query"):
        explain(picture, text="blue", like_image=picture, model=towers)
    with pytest.raises(UsageError, match="has no word"):
        explain(picture, text="  ", model=towers)
    with pytest.raises(UsageError, match="--model"):
        explain(picture, text="blue")
    with pytest.raises(UsageError, match=r"ends in \.png"):
        explain(picture, text="blue", model=towers, out=tmp_path / "x.jpg")
    with pytest.raises(UsageError, match="no table"):
        explain(picture, text="blue", id="p0", model=towers)
    with pytest.raises(UsageError, match="no method"):
        Method("nonsense")
    with pytest.raises(UsageError, match="shares of a tile"):
        Method(pool=2.0)
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(FormatError, match="empty"):
        explain(tmp_path / "empty.png", text="blue", model=towers)
    with pytest.raises(DataError, match="bands"):
        explain(geotiff(tmp_path / "5.tif", np.zeros((5, 16, 16), np.uint8)), text="blue", model=towers)
    assert not list(tmp_path.glob("x*"))


def test_neutral_queries_are_distinct() -> None:
    assert len(set(NEUTRAL)) == len(NEUTRAL)
    images = neutral_images(4)
    assert images.dtype == np.uint8
    assert images.shape[1:] == (4, 64, 64)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_the_small_map_holds_means() -> None:
    values = np.random.default_rng(0).standard_normal((70, 100))
    found = small(values)
    assert found.shape == (22, 32)
    assert found.mean() == pytest.approx(values.mean(), abs=0.02)
    assert small(values[:20, :30]).shape == (20, 30)
    np.testing.assert_allclose(small(np.ones((333, 77))), 1.0)
