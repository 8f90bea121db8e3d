import numpy as np
import pytest

from conftest import make_table
from placevec.features.retrieval import Bank
from placevec.features.retrieval.bandwidths import blocks, candidates, extent_m, given, learn, score, whitened
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places


def bank_of(values: np.ndarray, lonlat: LonLat) -> Bank:
    places = Places.create([f"b{i}" for i in range(len(values))], lonlat)
    return Bank.of(EmbeddingTable.of(places, values.astype(np.float32), Space.mint(values.shape[1])))


def region(n: int, seed: int = 0) -> LonLat:
    rng = np.random.default_rng(seed)
    return LonLat(rng.uniform(-5, 5, n), rng.uniform(-5, 5, n))


def waves(lonlat: LonLat, length_deg: float, seed: int = 0, dims: int = 12) -> np.ndarray:
    """Random plane waves of one wavelength."""
    rng = np.random.default_rng(seed)
    angle, phase = rng.uniform(0, 2 * np.pi, dims), rng.uniform(0, 2 * np.pi, dims)
    along = np.outer(lonlat.lon, np.cos(angle)) + np.outer(lonlat.lat, np.sin(angle))
    return np.cos(2 * np.pi * along / length_deg + phase)


def test_fine_structure_asks_for_fine_kernels() -> None:
    where = region(3000)
    noise = 0.3 * np.random.default_rng(1).standard_normal((3000, 12))
    fine = learn(bank_of(waves(where, 1.2) + noise, where))
    coarse = learn(bank_of(waves(where, 10.0) + noise, where))
    assert fine.chosen[0] < coarse.chosen[0]
    assert fine.explained[0] > 0.4
    assert coarse.explained[0] > 0.4


def test_noise_is_explained_by_no_kernel() -> None:
    # A mean of all others would give the own value away here, and the widest kernel would explain most of it.
    where = region(3000)
    learned = learn(bank_of(np.random.default_rng(2).standard_normal((3000, 8)), where))
    assert max(learned.explained) < 0.02


def test_it_is_deterministic_and_recorded() -> None:
    where = region(800)
    bank = bank_of(waves(where, 3.0), where)
    one, other = learn(bank), learn(bank)
    assert one == other
    assert one.metres == tuple(sorted(one.chosen))
    assert 3 <= len(one.metres) <= 4
    assert set(one.metres) <= set(one.candidates)
    assert one.to_json()["explained"] == list(one.explained)


def test_candidates_go_from_the_spacing_to_a_third_of_the_extent() -> None:
    where = region(2000)
    bank = bank_of(np.zeros((2000, 2)) + np.arange(2), where)
    tried = candidates(bank)
    assert tried[0] == pytest.approx(bank.spacing * 6371008.8, rel=0.01)
    assert tried[-1] == pytest.approx(extent_m(bank) / 3, rel=0.01)
    ratios = np.array(tried[1:]) / np.array(tried[:-1])
    assert np.allclose(ratios, ratios[0], rtol=0.02)
    assert extent_m(bank) == pytest.approx(10 * 111.2e3, rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_small_banks_have_some_width(n: int) -> None:
    where = region(n)
    learned = learn(bank_of(np.random.default_rng(0).standard_normal((n, 3)), where))
    assert len(learned.metres) >= 1
    assert all(width > 0 for width in learned.metres)


def test_places_on_one_spot_have_some_width() -> None:
    where = LonLat(np.zeros(100), np.zeros(100))
    assert learn(bank_of(np.random.default_rng(0).standard_normal((100, 3)), where)).metres == (1.0,)


def test_whitened_values_have_unit_variance_and_no_dead_axis() -> None:
    table = make_table(500, 6)
    values = np.concatenate([table.vectors() * 5, np.ones((500, 3), dtype=np.float32)], axis=1)
    out = whitened(bank_of(values, table.lonlat()))
    assert out.shape == (500, 6)
    assert np.allclose(np.cov(out.T), np.eye(6), atol=1e-3)
    assert whitened(bank_of(np.ones((50, 3)), region(50))).shape == (50, 1)


def test_blocks_with_a_common_face_have_different_folds() -> None:
    axis = np.linspace(0.0, 1.0, 33)[:-1]
    for along in range(3):
        line = np.zeros((32, 3))
        line[:, along] = axis
        fold = blocks(line)
        assert np.count_nonzero(np.diff(fold)) >= 7


def test_a_ridge_that_knows_explains_all() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3))
    fold = np.arange(400) % 4
    assert score(x, x @ rng.standard_normal((3, 2)), fold) > 0.999
    assert score(x, rng.standard_normal((400, 2)), fold) < 0.05


def test_given_widths_are_sorted() -> None:
    assert given([5e4, 1e4]).metres == (1e4, 5e4)
