"""`area patches`, layers in words, and embedding of what they mean."""

import hashlib
import json

import numpy as np
import pytest
import shapely
from rasterio.transform import Affine
from typer.testing import CliRunner

import patch_fakes as fakes
from placevec.area import StudyArea
from placevec.cli.main import app
from placevec.errors import DataError, UsageError
from placevec.features.signatures import FractionsEncoder, layers_of
from placevec.provenance import SourceRef
from placevec.sources.catalog import source_refs
from placevec.sources.patches import PatchSet
from placevec.tasks.inputs import Input, source_from
from placevec.tasks.patch_inputs import LayerOption, parse_layer
from placevec.tasks.patches import area_patches


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with an area, two rasters in two systems, and a class table."""
    folder = tmp_path_factory.mktemp("world")
    fakes.write(
        folder / "cover.tif", fakes.classes(400, 400), Affine(0.0005, 0, 2.7, 0, -0.0005, 41.7), "EPSG:4326", nodata=0
    )
    fakes.write(folder / "height.tif", fakes.relief(700, 700), Affine(30, 0, 474000, 0, -30, 4617000), "EPSG:32631")
    (folder / "tiny.json").write_text(json.dumps(fakes.TABLE.to_json()))
    StudyArea("here", shapely.box(2.76, 41.56, 2.84, 41.62), (8,)).save(folder / "here")
    return folder


def layers(world):
    return [f"cover={world}/cover.tif,classes={world}/tiny.json", f"height={world}/height.tif"]


def test_layers_in_words():
    found = parse_layer("cover=a/nlcd.tif,classes=nlcd,resampling=mode,band=2,unknown=nodata")
    assert found == LayerOption(
        name="cover", raster="a/nlcd.tif", classes="nlcd", resampling="mode", band=2, unknown="nodata"
    )
    assert parse_layer("h=dataset:etopo20").table is None
    inline = LayerOption(name="c", raster="a.tif", classes={"1": "rice", "2": "village"})
    assert inline.table.names == ("rice", "village")


@pytest.mark.parametrize(
    "text", ["cover", "=a.tif", "cover=", "cover=a.tif,nlcd", "cover=a.tif,class=nlcd", "cover=a.tif,band=x",
             "cover=a.tif,resampling=cubic", "cover=a.tif,classes="],
)  # fmt: skip
def test_words_that_are_no_layer(text):
    with pytest.raises(UsageError, match=r"^--layer "):
        parse_layer(text)


def test_the_cells_of_an_area(world, tmp_path):
    made = area_patches(tmp_path / "p", layers(world), ground_m=1500, pixels=16, area=world / "here", resolution=8)
    record = made.to_record()
    assert record["places"] == record["written"] + record["skipped"] == len(StudyArea.open(world / "here").cells(8))
    stored = PatchSet(tmp_path / "p")
    assert stored.places().has("h3")
    given = Input(area=str(world / "here"), patches={"layers": [parse_layer(one) for one in layers(world)],
                                                     "ground_m": 1500, "pixels": 16})  # fmt: skip
    source = source_from(given.source().spec().args["spec"])
    rows = source.places().rows_of(stored.places().ids)
    a, b = source.read(rows), stored.read(np.arange(len(stored)))
    for name in ("cover", "height", "lonlat"):
        np.testing.assert_array_equal(a.data[name], b.data[name])
    layout = Input(on=str(tmp_path / "p")).layout()
    assert {key: layout[key] for key in ("chip_size", "ground_m")} == {"chip_size": [16, 16], "ground_m": 1500}
    assert given.layout()["ground_m"] == 1500
    assert {ref.href for ref in given.sources()} == {"cover.tif", "height.tif"}


def test_pairs_of_an_area_and_of_the_rasters(world, tmp_path):
    options = {"ground_m": 1500, "pixels": 8, "samples": 50, "seed": 3}
    made = area_patches(tmp_path / "a", layers(world), area=world / "here", inner_m=500, outer_m=2000, **options)
    stored = PatchSet(tmp_path / "a")
    assert (made.written.written, made.written.skipped) == (100, 0)
    assert np.unique(stored.places().keys).size == 50
    assert shapely.contains_xy(StudyArea.open(world / "here").boundary, stored.places().lon, stored.places().lat).all()
    anywhere = area_patches(tmp_path / "b", layers(world), limit=20, **options)
    assert anywhere.written.places == 40


def test_pairs_of_a_file_of_polygons(world, tmp_path, monkeypatch):
    from placevec.sources.polygons import Mask
    from placevec.tasks import patches

    island, islet = shapely.box(2.76, 41.56, 2.80, 41.62), shapely.box(2.82, 41.56, 2.84, 41.62)
    both = shapely.union(island, islet)
    (tmp_path / "land.geojson").write_text(shapely.to_geojson(both))
    options = {"ground_m": 1500, "pixels": 8, "samples": 50, "inner_m": 500, "outer_m": 2000}
    made = area_patches(tmp_path / "a", layers(world), area=tmp_path / "land.geojson", **options)
    stored = PatchSet(tmp_path / "a").places()
    assert made.written.written == 100
    assert shapely.contains_xy(both, stored.lon, stored.lat).all()
    assert shapely.contains_xy(islet, stored.lon, stored.lat).any()
    monkeypatch.setattr(patches, "read_mask", lambda name: {"land": Mask.of([both])}[name])
    area_patches(tmp_path / "b", layers(world), area="land", **options)
    assert PatchSet(tmp_path / "b").places().ids.tolist() == stored.ids.tolist()


def test_a_region_of_pairs_in_a_recipe(world, tmp_path):
    from placevec.config import parse_recipe
    from placevec.tasks.run import run as run_recipe
    from placevec.tasks.verbs import VERBS

    (tmp_path / "land.geojson").write_text(shapely.to_geojson(shapely.box(2.76, 41.56, 2.80, 41.62)))
    step = {"do": "patches", "of": "land.geojson", "ground_m": 1500, "pixels": 8, "out": "p",
            "layers": [{"name": "height", "raster": f"{world}/height.tif"}]}  # fmt: skip
    with pytest.raises(UsageError, match="of = 'land.geojson' is the region of pairs: give samples"):
        run_recipe(parse_recipe({"step": [step]}), VERBS, folder=tmp_path)
    run_recipe(parse_recipe({"step": [step | {"samples": 20, "inner_m": 500}]}), VERBS, folder=tmp_path)
    assert PatchSet(tmp_path / "p").places().lon.max() < 2.80


def test_one_band_of_several_is_read_alone_and_told_apart(tmp_path):
    import rasterio

    values = np.stack([fakes.relief(90, 90, seed) for seed in range(3)])
    with rasterio.open(
        tmp_path / "p.tif", "w", driver="GTiff", dtype="float32", count=3, height=90, width=90, crs="EPSG:4326",
        transform=Affine(0.01, 0, 2, 0, -0.01, 42),
    ) as out:  # fmt: skip
        out.write(values)
    found = [LayerOption(name="p", raster=str(tmp_path / "p.tif"), band=band).open() for band in (1, 2, 3)]
    assert [layer.raster.count for layer in found] == [1, 1, 1]
    assert len({json.dumps(layer.identity()) for layer in found}) == 3


def test_a_patch_set_is_something_to_embed(world, tmp_path):
    area_patches(tmp_path / "p", layers(world), ground_m=1500, pixels=8, area=world / "here")
    given = Input(on=str(tmp_path / "p"), limit=5)
    source = source_from(given.source().spec().args["spec"])
    assert len(source.places()) == 5
    assert source.read(np.arange(5)).data["height"].shape == (5, 8, 8)
    assert source.fingerprint() == PatchSet(tmp_path / "p").fingerprint()


def test_a_stencil_is_read_part_by_part(world, tmp_path):
    from placevec.sources.base import Partitioned
    from placevec.tasks.stencil import make_stencil

    make_stencil(world / "here", tmp_path / "s.parquet", resolution=8)
    patches = {"layers": [parse_layer(one) for one in layers(world)], "ground_m": 1500, "pixels": 8}
    source = Input(on=str(tmp_path / "s.parquet"), patches=patches).source()
    assert isinstance(source, Partitioned)
    again = source_from(source.spec().args["spec"])
    assert again.fingerprint() == source.fingerprint()
    assert source.fingerprint() != Input(on=str(tmp_path / "s.parquet")).source().fingerprint()
    batch = source.part(0, 3).read(np.arange(3))
    assert set(batch.data) == {"cover", "height", "lonlat"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": []}, UsageError, "--layer NAME=RASTER"),
        ({"inner_m": 100}, UsageError, "are for pairs"),
        ({"samples": 5, "resolution": 8}, UsageError, "leave out --on and --resolution"),
        ({"layers": ["cover=nowhere.tif"]}, UsageError, "'nowhere.tif' is no raster"),
        ({"layers": ["a={0}/cover.tif", "a={0}/height.tif"]}, UsageError, "two layers are called 'a'"),
        ({"layers": ["a={0}/cover.tif,classes=nlcd"]}, DataError, "cover.tif holds the class code .* 'nlcd'"),
    ],
)
def test_what_cannot_be(world, tmp_path, arguments, error, message):
    options = {"layers": layers(world), "ground_m": 1500, "pixels": 8, "area": world / "here"} | arguments
    options["layers"] = [text.format(world) for text in options["layers"]]
    with pytest.raises(error, match=message):
        area_patches(tmp_path / "p", options.pop("layers"), **options)


def test_inputs_that_contradict_themselves(world, tmp_path):
    patches = {"layers": [parse_layer(layers(world)[1])], "ground_m": 1500, "pixels": 8}
    with pytest.raises(UsageError, match="a raster and layers"):
        Input(area="x", patches=patches, chips={"raster": "a.tif", "ground_m": 1, "pixels": 1})
    area_patches(tmp_path / "p", layers(world), ground_m=1500, pixels=8, area=world / "here", limit=3)
    with pytest.raises(UsageError, match="holds patches already"):
        Input(on=str(tmp_path / "p"), patches=patches)


def test_on_the_command_line(world, tmp_path):
    words = ["area", "patches", str(world / "here"), "--ground", "1500m", "--pixels", "8", "-o", str(tmp_path / "p")]
    for one in layers(world):
        words += ["--layer", one]
    found = CliRunner().invoke(app, [*words, "--samples", "30", "--inner", "500m", "--outer", "2km", "--workers", "2"])
    assert found.exit_code == 0, found.output
    record = json.loads(found.stdout.splitlines()[-1])
    assert (record["places"], record["layers"]) == (60, ["cover", "height"])
    assert CliRunner().invoke(app, [*words, "--samples", "30", "--inner", "500m", "--outer", "2km"]).exit_code == 0
    missing = CliRunner().invoke(app, ["area", "patches", str(world / "here"), "-o", str(tmp_path / "q")])
    assert missing.exit_code != 0


def test_a_set_and_what_is_made_of_it_say_where_its_rasters_come_from(world, tmp_path):
    from placevec.table import read_table
    from placevec.tasks.embed import embed

    area_patches(tmp_path / "p", layers(world), ground_m=1500, pixels=8, area=world / "here")
    digests = {name: hashlib.sha256((world / name).read_bytes()).hexdigest() for name in ("cover.tif", "height.tif")}
    expected = {SourceRef(name, digest) for name, digest in digests.items()}
    stored = PatchSet(tmp_path / "p")
    assert set(stored.refs) == expected
    manifest = json.loads((tmp_path / "p" / "patches.json").read_text())
    assert {SourceRef(**one) for one in manifest["sources"]} == expected
    assert str(world) not in json.dumps(manifest["sources"])  # no path of this machine
    # A table from the set and one straight from the rasters say the same.
    read = {"layers": [parse_layer(one) for one in layers(world)], "ground_m": 1500, "pixels": 8}
    for given in (Input(on=str(tmp_path / "p")), Input(area=str(world / "here"), patches=read)):
        source = given.source()
        encoder = FractionsEncoder(layers_of(source, None))
        embed(source, encoder, tmp_path / "t.parquet", sources=given.sources(), restart=True)
        assert set(read_table(tmp_path / "t.parquet").meta.sources) == expected
    hidden = Input(on=str(tmp_path / "p"), mask_centre=2).source()
    assert set(hidden.refs) == expected


def test_a_set_of_a_dataset_names_licence_and_attribution(data_dir, tmp_path):
    area_patches(tmp_path / "p", ["cover=dataset:zion/nlcd2011.tif,classes=nlcd"], ground_m=2000, pixels=8, samples=5)
    (ref,) = PatchSet(tmp_path / "p").refs
    (known,) = [one for one in source_refs("zion") if one.href.endswith("nlcd2011.tif")]
    assert ref == known
    assert ref.sha256
    assert ref.licence


def test_arrays_in_memory_and_sets_of_an_earlier_version_have_no_sources(tmp_path):
    from placevec.sources.patches import Layer, PatchSource, write_patches
    from placevec.sources.rasters import Raster

    raster = Raster.from_array(fakes.relief(200, 200), bounds=(2.7, 41.6, 2.8, 41.7))
    write_patches(PatchSource(fakes.places(2.75, 41.65), [Layer("height", raster)], 800, 8), tmp_path / "m")
    assert PatchSet(tmp_path / "m").refs == ()
    manifest = json.loads((tmp_path / "m" / "patches.json").read_text())
    del manifest["sources"]
    (tmp_path / "m" / "patches.json").write_text(json.dumps(manifest))
    assert PatchSet(tmp_path / "m").refs == ()


def test_what_is_kept_of_remote_rasters_is_forgotten_once(world, tmp_path, monkeypatch):
    from placevec.sources import remote
    from placevec.tasks import inputs

    dropped = []
    monkeypatch.setattr(remote, "forget", dropped.append)
    inputs.refresh(
        ["a.tif", "https://example.org/a.tif", "worldcover-2021", "dataset:lc100-2019", "dataset:zion/b.tif"]
    )
    assert dropped == ["https://example.org/a.tif", "dataset:worldcover-2021", "dataset:lc100-2019"]
    for rasters, said in ((["a.tif"], "a.tif is a file"), (["a.tif", "b.tif"], "are files"), ([], "no raster")):
        with pytest.raises(UsageError, match=said):
            inputs.refresh(rasters)
    patches = {"layers": [parse_layer(one) for one in layers(world)], "ground_m": 1500, "pixels": 8}
    assert Input(area=str(world / "here"), patches=patches).rasters() == (f"{world}/cover.tif", f"{world}/height.tif")
    chips = {"raster": "s3://b/k.tif", "ground_m": 100, "pixels": 4}
    assert Input(area=str(world / "here"), chips=chips).rasters() == ("s3://b/k.tif",)
    with pytest.raises(UsageError, match="over the network"):
        area_patches(tmp_path / "p", layers(world), ground_m=1500, pixels=8, area=world / "here", refresh=True)


@pytest.mark.parametrize("verb", ["embed", "area"])
def test_refresh_on_the_command_line(world, tmp_path, monkeypatch, verb):
    """Once, in the process that begins, before any worker opens a raster; on --on grid there is none."""
    asked = []

    class Stop(Exception):
        pass

    def stop(rasters):
        asked.append(tuple(rasters))
        raise Stop

    monkeypatch.setattr("placevec.tasks.inputs.refresh", stop)
    monkeypatch.setattr("placevec.tasks.patches.forget_kept", stop)
    read = ["--ground", "1500m", "--pixels", "8", *(word for one in layers(world) for word in ("--layer", one))]
    words = ["area", "patches", str(world / "here")] if verb == "area" else ["embed", "-e", "features:cooccurrence",
                                                                          "--area", str(world / "here")]  # fmt: skip
    found = CliRunner().invoke(app, [*words, *read, "-o", str(tmp_path / "t.parquet"), "--refresh"])
    assert isinstance(found.exception, Stop)
    assert asked == [(f"{world}/cover.tif", f"{world}/height.tif")]
    if verb == "embed":
        grid = ["embed", "-e", "x", "--on", "grid", "--bbox", "0,0,1,1", "-o", str(tmp_path / "g.tif"), "--refresh"]
        assert "takes no --refresh" in str(CliRunner().invoke(app, grid).exception)
