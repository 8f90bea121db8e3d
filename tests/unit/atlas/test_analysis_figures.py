"""The figures of an analysis: drawn whole, the same each time, and their colours mean what the legend says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h3
import numpy as np
import pytest
import shapely
from PIL import Image

from placevec.atlas import palettes
from placevec.atlas.coefficient_charts import coefficient_figure, coefficient_heat, modality_colours
from placevec.atlas.facets import facet_figure
from placevec.atlas.heat import heat_figure
from placevec.atlas.landscapes import Landscape, landscape_colours, landscape_figure, profile_figure
from placevec.atlas.panels import panel_figure
from placevec.atlas.rasterise import RowMap, frame_of_cells, rows_of_cells
from placevec.atlas.residual_maps import residual_bins, residual_figure, write_residual_bins
from placevec.atlas.scores import ScoreRow
from placevec.atlas.triads import Channel, rank_shares, triad_colours, triad_figure
from placevec.errors import SchemaError
from placevec.geo.cells import H3Cells
from placevec.measure.coefficients import Coefficients


def cells(k: int = 4) -> np.ndarray:
    disk = h3.grid_disk(h3.latlng_to_cell(-30.03, -51.2, 9), k)
    return np.array(sorted(h3.str_to_int(cell) for cell in disk), dtype=np.uint64)


@pytest.fixture(scope="module")
def pixels() -> RowMap:
    own = cells()
    return rows_of_cells(H3Cells(9), own, frame_of_cells(H3Cells(9), own, width=200))


def picture(path: Path) -> np.ndarray:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def shows(path: Path, colour: np.ndarray | tuple[int, ...]) -> bool:
    return bool((picture(path) == np.asarray(colour, dtype=np.uint8)).all(axis=2).any())


def some(target: str = "jobs", n: int = 6) -> Coefficients:
    mean = np.linspace(0.5, -0.2, n)
    return Coefficients(
        target, "fused", "ridge", tuple(f"column {i}" for i in range(n)), ("roads", "transit") * (n // 2),
        mean, mean - 0.1, mean + 0.1, np.full(n, 0.05), np.ones(n), 2.0, 0.61, 0.02, (1.0,), 100,
    )  # fmt: skip


def test_coefficients_are_bars_in_the_colours_of_their_modalities(tmp_path: Path) -> None:
    first = coefficient_figure(tmp_path / "a.png", some())
    for colour in palettes.CATEGORICAL[:2]:
        assert shows(first, colour)
    again = coefficient_figure(tmp_path / "b.png", some())
    assert first.read_bytes() == again.read_bytes()
    assert list(modality_colours(["b", "a", "b"])) == ["b", "a"]
    heat = coefficient_heat(tmp_path / "h.png", [some(), some("population")])
    assert shows(heat, palettes.CATEGORICAL[1])
    with pytest.raises(SchemaError, match="targets on one table"):
        coefficient_heat(tmp_path / "x.png", [some(), some("population", 4)])


def test_a_table_of_colours_has_its_ends_and_marks_what_is_not_known(tmp_path: Path) -> None:
    path = heat_figure(tmp_path / "h.png", [[1.0, -1.0], [np.nan, 0.0]], ["r" * 90, "s"], ["c", "d"], title="T")
    assert shows(path, palettes.DIVERGING[0])
    assert shows(path, palettes.DIVERGING[-1])
    assert shows(path, palettes.MISSING)
    with pytest.raises(SchemaError, match="a table of the shape"):
        heat_figure(tmp_path / "x.png", [[1.0]], ["r"], ["c", "d"], title="T")


def test_facets_hold_every_target(tmp_path: Path) -> None:
    rows = [
        ScoreRow(name, split, 0.1 * i, 0.1 * i - 0.05, 0.1 * i + 0.05, learned=i > 1, target=target)
        for target in ("jobs", "people", "schools", "price")
        for split in ("random", "block")
        for i, name in enumerate(("mean", "coordinates · kNN", "fused · ridge"))
    ]
    path = facet_figure(
        tmp_path / "f.png", [*rows, ScoreRow("bad", "block", -9.0, -10.0, -8.0, target="jobs")], title="T"
    )
    assert picture(path).shape[0] > 600
    with pytest.raises(SchemaError, match="one metric"):
        facet_figure(tmp_path / "x.png", [rows[0], ScoreRow("a", "block", 1, 1, 1, metric="MAE")], title="T")


def test_residuals_lie_in_bins_whose_ground_is_that_of_their_cells(tmp_path: Path) -> None:
    own = cells()
    values = np.random.default_rng(0).standard_normal(len(own))
    values[0] = np.nan
    found = residual_bins(own, values)
    assert found.bins[0] == -1
    edges = np.array(found.legend.edges)
    inside = found.bins >= 0
    assert (values[inside] >= edges[found.bins[inside]]).all()
    assert (values[inside] <= edges[found.bins[inside] + 1]).all()
    assert (found.colours[inside] == found.legend.colours[found.bins[inside]]).all()
    written = json.loads(write_residual_bins(tmp_path / "r.geojson", found).read_text())
    ground = shapely.union_all([shapely.from_geojson(json.dumps(one["geometry"])) for one in written["features"]])
    apart = H3Cells(9).polygons(own[1:])
    assert shapely.area(ground) == pytest.approx(shapely.area(apart).sum(), rel=1e-6)
    assert sum(one["properties"]["cells"] for one in written["features"]) == len(own) - 1
    assert sum(one["properties"]["share"] for one in written["features"]) == pytest.approx(1.0)
    assert found.words.startswith("Moran's I of the residuals ")
    path = residual_figure(tmp_path / "r.png", found, title="T", width=200)
    assert shows(path, found.legend.colours[0])
    assert shows(path, palettes.MISSING)


def test_smooth_residuals_hang_together_and_a_lone_cell_says_nothing() -> None:
    own = cells()
    lon = H3Cells(9).centre(own).lon
    assert residual_bins(own, lon - lon.mean()).moran.i > 0.5
    assert residual_bins(own[:1], [1.0]).words == "Moran's I cannot be told"
    with pytest.raises(SchemaError, match="one residual for each cell"):
        residual_bins(own, [1.0])


def test_three_columns_are_one_colour_by_their_ranks(tmp_path: Path, pixels: RowMap) -> None:
    values = np.array([[1.0, 30.0, 5.0], [2.0, 20.0, 5.0], [1e6, 10.0, 5.0], [np.nan, 0.0, 5.0]])
    assert rank_shares(values)[:3, 0].tolist() == [0.0, 0.5, 1.0]
    colours = triad_colours(values)
    assert colours[2, 0] == 255
    assert colours[3].tolist() == palettes.MISSING.tolist()
    assert set(colours[:3, 2].tolist()) == {128}
    x = np.random.default_rng(0).standard_normal((len(cells()), 3))
    path = triad_figure(
        tmp_path / "t.png", x, [Channel("a", "coefficient +1"), Channel("b"), Channel("c")], pixels, title="T"
    )
    assert shows(path, triad_colours(x)[0])
    with pytest.raises(SchemaError, match="mixes 3 columns"):
        triad_colours(x[:, :2])


def test_landscapes_of_all_resolutions_share_their_colours(tmp_path: Path, pixels: RowMap) -> None:
    n = len(cells())
    fine = np.arange(n) % 4
    coarse = fine // 2
    colours = landscape_colours([Landscape("fine", fine), Landscape("coarse", coarse)])
    for cluster in range(2):
        held = {tuple(colours[0][one].tolist()) for one in np.unique(fine[coarse == cluster]).tolist()}
        assert tuple(colours[1][cluster].tolist()) in held
    assert len(np.unique(colours[1], axis=0)) == 2
    path = landscape_figure(
        tmp_path / "l.png", [Landscape("fine", fine), Landscape("coarse", coarse)], pixels,
        names=["dense, transit-rich, many shops"] * 4, title="T",
    )  # fmt: skip
    assert all(shows(path, colour) for colour in colours[0])
    many = landscape_colours([Landscape("fine", np.arange(25))])[0]
    assert (many[20:] == palettes.LEFT_OUT).all()
    landscape_figure(tmp_path / "m.png", [Landscape("fine", np.arange(n))], pixels, names=[""] * n, title="T")
    z = np.array([[1.0, np.nan], [-1.0, 0.2]])
    assert profile_figure(tmp_path / "p.png", z, ["a", "b"], ["x", "y"], title="T").exists()
    with pytest.raises(SchemaError, match="a name for each finest cluster"):
        landscape_figure(tmp_path / "x.png", [Landscape("fine", fine)], pixels, names=["a"], title="T")
    with pytest.raises(SchemaError, match="no maps"):
        panel_figure(tmp_path / "x.png", [], pixels.frame, title="T")
