import io
from dataclasses import replace

import numpy as np
import pytest
import shapely
from PIL import Image

from placevec.atlas import legends, palettes
from placevec.atlas.charts import bar_figure, variance_figure
from placevec.atlas.colour import Agreement, fit_basis
from placevec.atlas.figures import contact_sheet, map_figure
from placevec.atlas.ink import number, percent
from placevec.atlas.legends import class_colours, pca_colours, ramp_colours, residual_colours, skewed
from placevec.atlas.rasterise import frame_of_cells, rows_of_cells
from placevec.atlas.scores import ScoreRow
from placevec.errors import SchemaError, SpaceMismatch, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat

CELLS = H3Cells(4)


@pytest.fixture(scope="module", params=[(-4.0, 40.0), (179.5, -17.0)], ids=["iberia", "fiji"])
def region(request):
    lon, lat = request.param
    ids = CELLS.neighbours(CELLS.assign(LonLat.of(lon, lat)), 4).cells
    frame = frame_of_cells(CELLS, ids, width=240)
    return ids, frame, rows_of_cells(CELLS, ids, frame)


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def holds(picture, colour, at_least=30):
    return (np.abs(picture.astype(int) - np.asarray(colour)).max(axis=2) <= 1).sum() >= at_least


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_a_map_of_each_kind_shows_its_colours(region, tmp_path, layout):
    ids, frame, shown = region
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(ids), 6)).astype(np.float32)
    residuals = rng.normal(size=len(ids))
    residuals[0] = np.nan
    kinds = [
        pca_colours(fit_basis([vectors], ["s"]), vectors, space="s"),
        pca_colours(fit_basis([vectors], ["s"]), vectors, scheme="opponent"),
        class_colours(np.arange(len(ids)) % 25 - 1),
        residual_colours(residuals, units="m"),
        ramp_colours(residuals, title="cosine", mark="query"),
    ]
    centre = CELLS.centre(ids)
    outline = shapely.box(centre.lon.min(), centre.lat.min(), centre.lon.max(), centre.lat.max())
    for place, (colours, legend) in enumerate(kinds):
        path = tmp_path / f"{place}.png"
        map_figure(
            path, shown.paint(colours), frame,
            title="A $map$ of <everything>", subtitle="x" * 300, legend=legend, boundary=outline,
            marks=centre[:1], note="a source", layout=layout,
        )  # fmt: skip
        picture = pixels(path)
        large = colours[len(colours) // 2]
        assert holds(picture, large)
        assert picture.shape[1] == (784 if layout == "narrow" else 1600)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [f"{place}.png" for place in range(5)]


def test_a_map_is_the_same_to_the_byte_each_time(region, tmp_path):
    ids, frame, shown = region
    colours, legend = ramp_colours(np.arange(len(ids)), title="rank")
    for name in ("a", "b"):
        map_figure(tmp_path / name, shown.paint(colours), frame, title="t", legend=legend)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_raster_of_another_frame_is_refused(region, tmp_path):
    _, frame, _ = region
    with pytest.raises(SchemaError, match="does not fit"):
        map_figure(tmp_path / "x.png", np.zeros((3, 3, 4), np.uint8), frame, title="t")
    assert not list(tmp_path.iterdir())


def test_names_in_other_scripts_do_not_stop_a_figure(region, tmp_path):
    ids, frame, shown = region
    colours, legend = class_colours(np.zeros(len(ids), int), names={0: "森林"})
    map_figure(tmp_path / "x.png", shown.paint(colours), frame, title="日本", legend=legend)


def test_classes_are_ranked_by_size_and_the_smallest_are_counted_together():
    labels = np.repeat(np.arange(23), np.arange(23) + 1)
    labels = np.append(labels, [-1, -1])
    colours, legend = class_colours(labels, names={22: "sea"})
    assert legend.names[0] == "sea"
    assert legend.sizes == tuple(range(23, 3, -1))
    assert legend.rest == 1 + 2 + 3 + 2
    assert legend.rest_name == "3 smaller classes and no class"
    assert np.array_equal(colours[labels == 22][0], palettes.CATEGORICAL[0])
    assert np.array_equal(colours[labels == 0][0], palettes.MISSING)
    with pytest.raises(UsageError):
        class_colours(labels, limit=21)


def test_residual_bins_lie_evenly_around_zero_and_hold_their_shares():
    values = np.append(np.random.default_rng(0).normal(size=10_000) + 0.3, np.nan)
    colours, legend = residual_colours(values, units="m")
    inner = np.array(legend.edges[1:-1])
    assert len(legend.shares) == 7
    assert np.allclose(inner, -inner[::-1])
    assert np.isclose(sum(legend.shares), 1)
    assert np.isclose(legend.shares[3], 0.2, atol=0.01)
    assert legend.missing == 1
    assert np.array_equal(colours[-1], palettes.MISSING)
    assert np.array_equal(colours[values.argsort()[0]], legend.colours[0])
    assert legend.edges[0] == np.nanmin(values)


def test_residuals_that_are_all_zero_are_neutral():
    colours, legend = residual_colours(np.zeros(5))
    assert len(np.unique(colours, axis=0)) == 1
    assert legend.shares == (1.0,)


def test_a_ramp_says_what_lies_beyond_it():
    _, legend = ramp_colours(np.arange(1000.0), title="t")
    assert legend.below
    assert legend.above
    _, legend = ramp_colours(np.arange(1000.0), title="t", clip=(0, 100))
    assert not legend.below
    assert not legend.above
    for paint in (residual_colours, lambda values: ramp_colours(values, title="t")):
        with pytest.raises(SchemaError, match="finite"):
            paint(np.array([np.nan]))


def test_a_logarithmic_ramp_shows_ratios_and_sends_zero_to_the_low_end() -> None:
    values = np.append(np.logspace(-2, 2, 101), [0.0, np.nan])
    colours, legend = ramp_colours(values, title="support", scale="log", clip=(0, 100))
    assert (legend.low, legend.high) == (pytest.approx(0.01), pytest.approx(100))
    assert legend.scale == "log"
    assert legend.below
    assert legend.missing == 1
    assert np.array_equal(colours[50], legend.table[128])  # 1 is the geometric middle
    assert np.array_equal(colours[101], legend.table[0])
    assert np.array_equal(colours[102], palettes.MISSING)
    with pytest.raises(UsageError, match="no value is above 0"):
        ramp_colours(np.array([0.0, -1.0]), title="support", scale="log")


def test_only_values_that_a_linear_scale_crowds_are_called_skewed() -> None:
    rng = np.random.default_rng(0)
    assert skewed(rng.lognormal(0, 2, 1000))
    assert not skewed(rng.uniform(0, 1, 1000))
    assert not skewed(rng.normal(size=1000))
    assert not skewed(np.full(10, 3.0))
    assert not skewed(np.array([np.nan]))


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_new_legends_fit_their_column(region, tmp_path, layout) -> None:
    ids, frame, shown = region
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(ids), 6)).astype(np.float32)
    basis = replace(fit_basis([vectors], ["s"]), agreement=Agreement("an older table", 900, 0.64, 0.7))
    for scheme in ("rgb", "opponent"):
        colours, legend = pca_colours(basis, vectors, scheme=scheme)
        assert legend.agreement == basis.agreement
        map_figure(tmp_path / scheme, shown.paint(colours), frame, title="t", legend=legend, layout=layout)
    mark = "query: 85390ca3fffffff, 7.6 km from -3.7,40.4"
    colours, legend = ramp_colours(rng.lognormal(0, 2, len(ids)), title="t", mark=mark, scale="log")
    map_figure(tmp_path / "log", shown.paint(colours), frame, title="t", legend=legend, layout=layout)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_pca_legend_tells_the_variance_and_refuses_another_space():
    vectors = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    basis = fit_basis([vectors], ["s"])
    _, legend = pca_colours(basis, vectors)
    assert isinstance(legend, legends.PcaLegend)
    assert legend.explained == tuple(basis.explained)
    with pytest.raises(SpaceMismatch):
        pca_colours(basis, vectors, space="t")


def scores(**more):
    rows = []
    for name, random, block, learned in (
        ("ours", 0.9, 0.5, True),
        ("raw", 0.7, 0.6, False),
        ("bad", 0.1, -40.0, False),
    ):
        rows += [
            ScoreRow(name, "random", random, random - 0.1, random + 0.1, learned, **more),
            ScoreRow(name, "block", block, block - 0.1, block + 0.1, learned, **more),
        ]
    return rows


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_bars_are_drawn_and_learned_rows_are_blue(tmp_path, layout):
    bar_figure(tmp_path / "b.png", scores(), title="Elevation", layout=layout)
    assert holds(pixels(tmp_path / "b.png"), (0, 114, 178))
    nan = float("nan")
    bar_figure(tmp_path / "c.png", [ScoreRow("only", "random", nan, nan, nan), *scores(metric="MAE")[:0]], title="t")
    bar_figure(tmp_path / "d.png", scores(metric="MAE, m"), title="t")


def test_bars_of_two_targets_do_not_share_a_figure(tmp_path):
    with pytest.raises(SchemaError, match="one target"):
        bar_figure(tmp_path / "b.png", scores(target="a") + scores(target="b"), title="t")
    with pytest.raises(SchemaError, match="no scores"):
        bar_figure(tmp_path / "b.png", [], title="t")


def test_variance_of_one_and_of_many_is_drawn(tmp_path):
    falling = np.array([0.5, 0.3, 0.1, 0.1])
    variance_figure(tmp_path / "one.png", {"image": falling})
    variance_figure(tmp_path / "two.png", {"image": falling, "location": [0.9, 0.1]})
    assert holds(pixels(tmp_path / "one.png"), (0xD7, 0x30, 0x1F))
    with pytest.raises(SchemaError):
        variance_figure(tmp_path / "x.png", {})


def test_a_contact_sheet_shows_every_image_and_frames_the_query(tmp_path):
    images = [np.full((8, 8, 3), 20 * i, dtype=np.uint8) for i in range(1, 9)]
    images[1] = np.full((5, 9), 77, dtype=np.uint8)
    contact_sheet(tmp_path / "s.png", images, [f"{i}\n$x$" for i in range(8)], title="Search", columns=3)
    picture = pixels(tmp_path / "s.png")
    assert holds(picture, (0, 114, 178))
    for colour in (20, 77, 60, 160):
        assert holds(picture, (colour,) * 3, 1000)
    contact_sheet(tmp_path / "t.png", images[:1], ["x"], query=False)
    with pytest.raises(SchemaError, match="captions"):
        contact_sheet(tmp_path / "u.png", images, ["one"])
    assert io.BytesIO((tmp_path / "t.png").read_bytes()).read(4) == b"\x89PNG"


def test_numbers_are_written_for_people():
    assert [number(value) for value in (0, -1234.5, 0.00123, 12.3456, float("nan"), 1e9)] == [
        "0", "−1\u2009234", "0.00123", "12.3", "–", "1.00e+09",
    ]  # fmt: skip
    assert [percent(share) for share in (0.5, 0.069, 0.0001)] == ["50 %", "6.9 %", "<0.1 %"]
