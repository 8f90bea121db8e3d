"""Fusions without parameters against slow and obvious forms, and what they promise of absent cells and of order."""

from __future__ import annotations

import h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem

from fusion_fakes import disk, town
from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.measure.fusion import (
    Block,
    concatenated,
    fuse_plain,
    neighbour_mean,
    parse_method,
    rbf_coordinates,
    rbf_width_m,
    ring_means,
    ring_stack,
    spacing_m,
    standardised,
)
from placevec.measure.fusion.rings import every_ring_mean


def rings_of(cell: int, k: int) -> set[int]:
    return {h3.str_to_int(one) for one in h3.grid_ring(h3.int_to_str(cell), k)} if k else {cell}


def slow_ring_means(values: np.ndarray, cells: np.ndarray, k: int, weights: np.ndarray) -> np.ndarray:
    """Cell by cell: the weighted mean of the means of rings 0 … k; an empty ring is the cell itself."""
    at = {int(cell): row for row, cell in enumerate(cells)}
    out = np.zeros(values.shape)
    for row, cell in enumerate(cells.tolist()):
        for ring in range(k + 1):
            held = [at[one] for one in rings_of(cell, ring) if one in at]
            out[row] += weights[ring] * (values[held].mean(axis=0) if held else values[row])
    return out / weights[: k + 1].sum()


def slow_neighbour_mean(cells: np.ndarray) -> np.ndarray:
    at = {int(cell): row for row, cell in enumerate(cells)}
    w = np.zeros((len(cells), len(cells)))
    for row, cell in enumerate(cells.tolist()):
        for one in h3.grid_disk(h3.int_to_str(cell), 1):
            if h3.str_to_int(one) in at:
                w[row, at[h3.str_to_int(one)]] = 1
    return w / w.sum(axis=1, keepdims=True)


def ragged(rings: int = 4, seed: int = 0, lon: float = -51.2, lat: float = -30.05) -> np.ndarray:
    """Cells with holes, and an island."""
    rng = np.random.default_rng(seed)
    cells = disk(rings, lon, lat)
    return np.concatenate([cells[rng.uniform(size=len(cells)) > 0.3], disk(0, lon + 0.2, lat)])


class TestRings:
    @pytest.mark.parametrize("weighting", ["flat", "exponential"])
    def test_ring_means_are_those_of_a_loop_over_cells(self, weighting):
        cells = ragged()
        values = np.random.default_rng(1).standard_normal((len(cells), 3)).astype(np.float32)
        weights = np.exp(-np.arange(5.0)) if weighting == "exponential" else np.ones(5)
        for k, found in every_ring_mean(values, cells, 4, weighting).items():
            np.testing.assert_allclose(found, slow_ring_means(values, cells, k, weights), atol=1e-5)

    def test_a_stack_is_the_walk_of_the_reference(self):
        cells = ragged(3)
        values = np.random.default_rng(1).standard_normal((len(cells), 2)).astype(np.float32)
        w = slow_neighbour_mean(cells)
        np.testing.assert_allclose(neighbour_mean(cells).toarray(), w, atol=1e-6)
        np.testing.assert_allclose(
            ring_stack(values, cells, 2), np.hstack([values, w @ values, w @ w @ values]), atol=1e-5
        )

    def test_around_a_pentagon_and_across_the_antimeridian(self):
        pentagon = h3.str_to_int(h3.get_pentagons(9)[0])
        lat, lon = h3.cell_to_latlng(h3.int_to_str(pentagon))
        for cells in (disk(3, lon, lat), disk(3, 180.0, 0.5)):
            values = np.random.default_rng(0).standard_normal((len(cells), 2)).astype(np.float32)
            np.testing.assert_allclose(
                ring_means(values, cells, 2), slow_ring_means(values, cells, 2, np.ones(3)), atol=1e-5
            )

    def test_pieces_of_cells_change_nothing(self, monkeypatch):
        cells = disk(12)
        values = np.random.default_rng(0).standard_normal((len(cells), 2)).astype(np.float32)
        whole = ring_means(values, cells, 3)
        monkeypatch.setattr("placevec.measure.fusion.rings._SUMS_AT_ONCE", 1)
        np.testing.assert_array_equal(ring_means(values, cells, 3), whole)

    @given(
        st.integers(0, 10_000), st.sampled_from(["concat", "rings:2", "rings:3:exponential", "ring-stack:2", "pca:3"])
    )
    def test_the_order_of_cells_does_not_matter(self, seed, method):
        place = town(4)
        order = np.random.default_rng(seed).permutation(len(place.cells))
        turned = {
            name: Block(block.values[order], block.mask[order], block.names) for name, block in place.blocks.items()
        }
        first, names = fuse_plain(method, place.blocks, place.cells)
        second, again = fuse_plain(method, turned, place.cells[order])
        assert names == again
        np.testing.assert_allclose(first[order], second, atol=2e-4)

    @given(st.integers(1, 4), st.integers(0, 1000))
    def test_a_constant_stays_what_it_is(self, rings, seed):
        cells = ragged(3, seed)
        ones = np.full((len(cells), 1), 7.0, dtype=np.float32)
        np.testing.assert_allclose(ring_means(ones, cells, rings), 7.0, rtol=1e-6)
        np.testing.assert_allclose(ring_stack(ones, cells, rings), 7.0, rtol=1e-6)

    def test_refuses_what_cannot_be(self):
        cells = disk(1)
        values = np.zeros((len(cells), 1), dtype=np.float32)
        with pytest.raises(UsageError, match="0 rings"):
            ring_means(values, cells, 0)
        with pytest.raises(DataError, match="cells of one resolution"):
            neighbour_mean(np.concatenate([cells, disk(1, resolution=8)]))
        with pytest.raises(DataError, match="1 cells stand twice"):
            neighbour_mean(np.concatenate([cells, cells[:1]]))


class TestBlocks:
    def test_absent_cells_are_the_mean_and_are_said_to_be_absent(self):
        place = town()
        values, names = standardised(place.blocks["transit"])
        mask = place.blocks["transit"].mask
        assert names == ("stops", "routes", "present")
        assert (values[~mask, :2] == 0).all()
        np.testing.assert_allclose(values[mask, :2].mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(values[mask, :2].std(axis=0), 1, atol=1e-6)
        assert len(np.unique(values[:, 2])) == 2

    def test_what_absent_rows_hold_is_not_looked_at(self):
        block = town().blocks["transit"]
        odd = np.where(block.mask[:, None], block.values, np.nan)
        np.testing.assert_array_equal(standardised(block)[0], standardised(Block(odd, block.mask))[0])

    def test_names_say_the_modality_and_a_constant_becomes_zero(self):
        values, names = concatenated({"x": Block(np.array([[1.0, 2.0], [1.0, 4.0]]))})
        assert names == ("x:0", "x:1")
        np.testing.assert_allclose(values, [[0, -1], [0, 1]])

    def test_faults(self):
        good = Block(np.zeros((3, 1)))
        with pytest.raises(UsageError, match="no modality"):
            concatenated({})
        with pytest.raises(DataError, match="x 3, y 2"):
            concatenated({"x": good, "y": Block(np.zeros((2, 1)))})
        with pytest.raises(DataError, match="row 1: speed is nan"):
            standardised(Block(np.array([[1.0], [np.nan]]), names=("speed",)))
        with pytest.raises(DataError, match="knows none of the cells"):
            standardised(Block(np.zeros((2, 1)), np.zeros(2, dtype=bool)))
        with pytest.raises(DataError, match="a mask of the shape"):
            Block(np.zeros((2, 1)), np.zeros(3, dtype=bool))
        with pytest.raises(DataError, match="2 names for 1 columns"):
            Block(np.zeros((2, 1)), names=("a", "b"))


class TestMethods:
    def test_components_are_those_of_a_pca_with_fixed_signs(self):
        place = town()
        values, _ = concatenated(place.blocks)
        found, names = fuse_plain("pca:3", place.blocks, place.cells)
        expected = PCA(3, svd_solver="full").fit_transform(values)
        assert names == ("pc1", "pc2", "pc3")
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
        # Turning all columns over leaves the loadings, whose signs are fixed, and turns the scores over.
        roads = place.blocks["roads"]
        turned = fuse_plain("pca:2", {"roads": Block(-roads.values)}, place.cells)[0]
        np.testing.assert_allclose(turned, -fuse_plain("pca:2", {"roads": roads}, place.cells)[0], atol=1e-4)

    def test_bases_are_those_of_nystroem(self):
        place = town()
        width = rbf_width_m(9)
        assert width == pytest.approx(1500.0)
        assert rbf_width_m(8) == pytest.approx(1500.0 * spacing_m(8) / spacing_m(9))
        xyz = place.lonlat.unit() * EARTH_RADIUS_M
        peer = Nystroem(kernel="rbf", gamma=1 / (2 * width**2), n_components=40, random_state=3).fit_transform(xyz)
        found = rbf_coordinates(place.lonlat, width, landmarks=40, seed=3)
        # The peer squares coordinates of 6,000 km, whose rounding shows.
        np.testing.assert_allclose(found @ found.T, peer @ peer.T, atol=1e-3)
        together, names = fuse_plain("concat+rbf", place.blocks, place.cells, place.lonlat)
        assert together.shape == (len(place.cells), 6 + 150)
        assert names[-1] == "rbf150"

    def test_reach(self):
        assert parse_method("concat").reach_m(9) == 0
        assert parse_method("rings:3").reach_m(9) == pytest.approx(3 * spacing_m(9))
        own = H3Cells(9).centre(disk(1))
        gaps = np.sort(np.linalg.norm((own.unit() - own.unit()[:1]) * EARTH_RADIUS_M, axis=1))
        assert gaps[1] == pytest.approx(spacing_m(9), rel=0.15)

    @pytest.mark.parametrize("text", ["", "rings", "rings:0", "rings:31", "pca:0", "concat:2", "ring-stack:-1", "mean"])
    def test_unknown_methods(self, text):
        with pytest.raises(UsageError, match="no fusion without parameters|give 1 to"):
            parse_method(text)

    def test_coordinates_are_asked_for(self):
        place = town(3)
        with pytest.raises(UsageError, match="give lonlat"):
            fuse_plain("concat+rbf", place.blocks, place.cells)
        assert isinstance(place.lonlat, LonLat)
