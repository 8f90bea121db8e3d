"""The augmenter against dense, obvious answers in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_table
from placevec.errors import DataError, SpaceMismatch, UsageError
from placevec.features.retrieval import MODES, Augmenter, Bank, Masks, augment_rows, levels, mode_of
from placevec.features.retrieval.blocks import NO_DIRECTION, NO_OWN, NO_PLACE, NO_ROW, scale
from placevec.features.retrieval.masks import distance_text
from placevec.features.retrieval.parts import Alike
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, distance_m, pairwise_m
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places, write_table

SPACE = Space.mint(8)
RETRIEVAL = [name for name in MODES if name != "concat"]


def bank_of(n=400, values=5, *, box=(-9.0, 36.0, 3.0, 43.0), seed=0, index="exact", place=None) -> Bank:
    keys = make_table(n, 8, space=SPACE, box=box, seed=seed)
    if place is not None:
        keys = keys.with_column("place", place)
    rng = np.random.default_rng(seed + 1)
    table = EmbeddingTable.of(keys.places(), rng.standard_normal((n, values)).astype(np.float32), Space.mint(values))
    return Bank.of(table, keys, queries=SPACE, index=index)


def queries(n=60, seed=9, box=(-9.0, 36.0, 3.0, 43.0)) -> EmbeddingTable:
    return make_table(n, 8, seed=seed, space=SPACE, prefix="q", box=box)


def ask(augmenter: Augmenter, table: EmbeddingTable):
    return augmenter.rows((table.lon, table.lat), table.vectors(), ids=table.ids, keys=table.keys)


def block(augmenter: Augmenter, found, name: str) -> np.ndarray:
    (one,) = (b for b in augmenter.blocks if b.name == name)
    return found.vectors[:, one.start : one.stop].astype(np.float64) / one.weight


def allowed(bank: Bank, table: EmbeddingTable, masks: Masks) -> np.ndarray:
    """Which pairs (query, row) count, one by one."""
    metres = pairwise_m(table.lonlat(), bank.lonlat)
    own = (table.keys[:, None] == bank.places.keys) | (table.ids[:, None] == bank.places.ids)
    good = ~own & ((metres > masks.buffer_m) if masks.buffer_m else True)
    return good & (metres <= (masks.max_m or np.inf))


def dense_soft(bank, table, good, tau, k=None) -> np.ndarray:
    def unit(v: np.ndarray) -> np.ndarray:
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    score = unit(table.vectors().astype(np.float64)) @ unit(bank.keys.astype(np.float64)).T
    score = np.where(good, score, -np.inf)
    if k is not None:
        score[score < np.sort(score, axis=1)[:, [-k]]] = -np.inf
    weight = np.exp(tau * (score - score.max(axis=1, keepdims=True)))
    return weight / weight.sum(axis=1, keepdims=True) @ bank.values


def dense_kernel(bank, table, good, width_m) -> tuple[np.ndarray, np.ndarray]:
    chord = 2 * np.sin(pairwise_m(table.lonlat(), bank.lonlat) / EARTH_RADIUS_M / 2)
    weight = np.where(good, np.exp(-((chord / (width_m / EARTH_RADIUS_M)) ** 2) / 2), 0.0)
    return weight @ bank.values / weight.sum(axis=1, keepdims=True), weight.sum(axis=1)


@pytest.fixture(params=[False, True], ids=["rows", "cells"])
def cells(request, monkeypatch) -> bool:
    """Whether banks as small as these are put together in cells."""
    if request.param:
        monkeypatch.setattr(levels, "_FEW", 0)
        monkeypatch.setattr(levels, "_WORTH", 1.0)
    return request.param


MASKS = [Masks(), Masks(buffer_m=40e3), Masks(max_m=300e3), Masks(buffer_m=40e3, max_m=300e3)]


@pytest.mark.parametrize("masks", MASKS, ids=str)
def test_soft_is_the_dense_softmax_when_nothing_is_cut(masks: Masks) -> None:
    bank, table = bank_of(), queries()
    augmenter = Augmenter(bank, mode_of("soft", {"k": len(bank), "tau": 12.0}), masks)
    found = ask(augmenter, table)
    wanted = dense_soft(bank, table, allowed(bank, table, masks), 12.0)
    assert found.usable.all()
    assert np.allclose(block(augmenter, found, "soft"), wanted, atol=1e-5)
    assert np.allclose(block(augmenter, found, "query"), table.vectors(), atol=1e-6)
    assert (found.left_out == 0).all()


@pytest.mark.parametrize("masks", MASKS, ids=str)
@pytest.mark.parametrize("k", [1, 16])
def test_the_best_rows_alone(masks: Masks, k: int) -> None:
    bank, table = bank_of(), queries()
    good = allowed(bank, table, masks)
    soft = Augmenter(bank, mode_of("soft", {"k": k, "tau": 5.0}), masks)
    assert np.allclose(block(soft, ask(soft, table), "soft"), dense_soft(bank, table, good, 5.0, k), atol=1e-5)
    mean = Augmenter(bank, mode_of("topm", {"m": k}), masks)
    assert np.allclose(block(mean, ask(mean, table), "topm"), dense_soft(bank, table, good, 1e-9, k), atol=1e-5)
    if k == 1:
        top = Augmenter(bank, mode_of("top1"), masks)
        assert np.allclose(block(top, ask(top, table), "top1"), dense_soft(bank, table, good, 1.0, 1), atol=1e-6)


@pytest.mark.parametrize("masks", MASKS, ids=str)
@pytest.mark.parametrize(
    "box", [(-9, 36, 3, 43), (176, -4, 184, 4), (-180, 87, 180, 90)], ids=["iberia", "180", "pole"]
)
def test_kernels_are_the_dense_gaussians(masks: Masks, box, cells: bool) -> None:
    bank, table = bank_of(700, box=box), queries(box=box)
    widths = (15e3, 60e3, 150e3)
    augmenter = Augmenter(bank, mode_of("geo", {"widths_m": widths, "degrees": 0}), masks)
    found = ask(augmenter, table)
    good = allowed(bank, table, masks)
    assert np.array_equal(found.usable, good.any(axis=1))
    used = found.usable
    for width in widths:
        wanted, mass = dense_kernel(bank, table, good, width)
        name = "geo-" + distance_text(width).replace(" ", "")
        # The values are noise of size 1. Weights below 1e-4 of the best are left out; cells add an error of their own.
        assert np.allclose(block(augmenter, found, name)[used], wanted[used], atol=0.05 if cells else 3e-3)
        if width == widths[0]:
            assert np.allclose(found.support[used], mass[used], rtol=0.1 if cells else 0.01, atol=1e-9)
    nearest = np.where(good, pairwise_m(table.lonlat(), bank.lonlat), np.inf).min(axis=1)
    assert np.allclose(found.bank_m[used], nearest[used], rtol=1e-6, atol=0.1)


def test_range_plus_averages_both() -> None:
    bank, table = bank_of(box=(-180, -80, 180, 80)), queries(box=(-180, -80, 180, 80))
    settings = {"k": len(bank), "concentration": 40.0, "blend": 0.3, "tau": 12.0}
    augmenter = Augmenter(bank, mode_of("range+", settings))
    good = allowed(bank, table, Masks())
    cosine = np.cos(pairwise_m(table.lonlat(), bank.lonlat) / EARTH_RADIUS_M)
    weight = np.exp(40.0 * cosine)
    near = weight @ bank.values / weight.sum(axis=1, keepdims=True)
    wanted = 0.7 * near + 0.3 * dense_soft(bank, table, good, 12.0)
    assert np.allclose(block(augmenter, ask(augmenter, table), "range"), wanted, atol=0.01)


def test_multiscale_has_its_blocks_side_by_side() -> None:
    bank, table = bank_of(), queries()
    mode = mode_of("multiscale", {"k": len(bank), "widths_m": [50e3, 200e3], "degrees": 4})
    augmenter = Augmenter(bank, mode)
    assert [b.name for b in augmenter.blocks] == ["query", "harmonics", "soft", "geo-50km", "geo-200km"]
    assert [b.stop - b.start for b in augmenter.blocks] == [8, 15, 5, 5, 5]
    assert augmenter.names[8] == "harmonics:0"
    assert len(augmenter.names) == augmenter.dims
    found = ask(augmenter, table)
    good = allowed(bank, table, Masks())
    assert np.allclose(block(augmenter, found, "soft"), dense_soft(bank, table, good, 15.0), atol=1e-5)
    assert np.allclose(block(augmenter, found, "geo-200km"), dense_kernel(bank, table, good, 200e3)[0], atol=0.01)


@pytest.mark.parametrize("name", RETRIEVAL)
def test_blocks_have_one_scale_over_the_bank(name: str) -> None:
    bank = bank_of(900)
    augmenter = Augmenter(bank, mode_of(name))
    places = bank.places
    found = augmenter.rows((places.lon, places.lat), bank.keys, ids=places.ids)
    for one in augmenter.blocks:
        spread = found.vectors[:, one.start : one.stop].astype(np.float64).var(axis=0).sum()
        assert spread == pytest.approx(1.0, rel=0.02), one


@pytest.mark.parametrize("name", RETRIEVAL)
@pytest.mark.usefixtures("cells")
def test_a_place_of_the_bank_never_finds_itself(name: str) -> None:
    # The value of one row is a flag; nobody's answer may show its own.
    keys = make_table(120, 8, space=SPACE)
    flagged = np.eye(120, dtype=np.float32)
    bank = Bank.of(EmbeddingTable.of(keys.places(), flagged, Space.mint(120)), keys, queries=SPACE)
    settings = {"k": 120} if name in ("soft", "range+", "multiscale") else {}
    settings |= {"widths_m": [20e3, 300e3]} if name in ("geo", "multiscale") else {}
    augmenter = Augmenter(bank, mode_of(name, settings))
    found = ask(augmenter, keys)
    for one in augmenter.blocks:
        if one.stop - one.start == 120:
            assert (np.diagonal(found.vectors[:, one.start : one.stop]) == 0).all(), one
            assert found.vectors[:, one.start : one.stop].any()


@pytest.mark.usefixtures("cells")
def test_rows_of_one_place_are_one() -> None:
    place = np.array([f"site-{i // 3}" for i in range(120)], dtype=object)
    keys = make_table(120, 8, space=SPACE).with_column("place", place)
    values = EmbeddingTable.of(keys.places(), np.eye(120, dtype=np.float32), Space.mint(120))
    bank = Bank.of(values, keys, queries=SPACE)
    augmenter = Augmenter(bank, mode_of("multiscale", {"k": 120, "widths_m": [300e3], "degrees": 0}))
    found = ask(augmenter, keys)
    same = place[:, None] == place[None, :]
    for name in ("soft", "geo-300km"):
        shown = block(augmenter, found, name) > 0
        assert not (shown & same).any(), name
        assert (shown | same)[:, :].all() or name != "soft"


@pytest.mark.parametrize("name", ["soft", "multiscale", "range+"])
@pytest.mark.usefixtures("cells")
def test_within_the_buffer_nothing_is_found(name: str) -> None:
    keys = make_table(300, 8, space=SPACE)
    bank = Bank.of(
        EmbeddingTable.of(keys.places(), np.eye(300, dtype=np.float32), Space.mint(300)), keys, queries=SPACE
    )
    settings = {"k": 300} | ({"widths_m": [100e3, 250e3]} if name == "multiscale" else {})
    augmenter = Augmenter(bank, mode_of(name, settings), Masks(buffer_m=90e3))
    table = queries(40)
    found = ask(augmenter, table)
    near = pairwise_m(table.lonlat(), bank.lonlat) <= 90e3
    assert near.any()
    for one in augmenter.blocks:
        if one.stop - one.start == 300:
            assert (found.vectors[:, one.start : one.stop][near] == 0).all(), one
    assert (found.bank_m > 90e3).all()


@pytest.mark.usefixtures("cells")
@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(0, 2e6), st.integers(0, 5))
def test_the_nearest_row_that_counts_is_the_nearest(lon: float, lat: float, buffer: float, seed: int) -> None:
    bank = bank_of(80, box=(-180, -90, 180, 90), seed=seed)
    augmenter = Augmenter(bank, mode_of("geo", {"widths_m": [5e5], "degrees": 0}), Masks(buffer_m=buffer))
    found = augmenter.rows(LonLat.of(lon, lat), np.ones((1, 8), dtype=np.float32))
    metres = distance_m(bank.lonlat, LonLat.of(lon, lat))
    metres = metres[metres > buffer]
    if len(metres):
        assert found.bank_m[0] == pytest.approx(metres.min(), rel=1e-6, abs=0.5)
    else:
        assert found.reason[0] == NO_ROW


def test_cells_of_a_smooth_field_are_half_a_percent_off() -> None:
    keys = make_table(6000, 8, space=SPACE)
    field = np.stack([np.sin(keys.lon / 2), np.cos(keys.lat), keys.lat / 5 - 8], axis=1).astype(np.float32)
    bank = Bank.of(EmbeddingTable.of(keys.places(), field, Space.mint(3)), keys, queries=SPACE)
    augmenter = Augmenter(bank, mode_of("geo", {"widths_m": [80e3, 250e3], "degrees": 0}))
    assert not any(part.kernel.level.plain for part in augmenter.parts[1:])
    table = queries(200)
    found = ask(augmenter, table)
    for name, width in (("geo-80km", 80e3), ("geo-250km", 250e3)):
        wanted, _ = dense_kernel(bank, table, allowed(bank, table, Masks()), width)
        error = block(augmenter, found, name) - wanted
        assert np.sqrt(np.square(error).mean()) < 0.005 * field.std()


def test_far_from_the_bank_the_nearest_rows_answer_without_support() -> None:
    bank = bank_of(500)
    augmenter = Augmenter(bank, mode_of("geo", {"widths_m": [20e3], "degrees": 3}))
    place = LonLat.of(40.0, 60.0)
    found = augmenter.rows(place, np.ones((1, 8), dtype=np.float32))
    row = int(np.argmin(distance_m(bank.lonlat, place)))
    assert np.allclose(block(augmenter, found, "geo-20km")[0], bank.values[row], atol=1e-5)
    assert found.support[0] < 1e-12
    assert found.bank_m[0] > 1e6
    assert np.isfinite(found.vectors).all()


def test_what_is_cut_from_the_softmax_is_bounded() -> None:
    bank, table = bank_of(), queries()
    good = allowed(bank, table, Masks())
    soft = Augmenter(bank, mode_of("soft", {"k": 40, "tau": 15.0}))
    found = ask(soft, table)
    v = bank.keys.astype(np.float64)
    weight = np.where(good, np.exp(15.0 * table.vectors().astype(np.float64) @ v.T), 0.0)
    share = 1 - np.sort(weight, axis=1)[:, -40:].sum(axis=1) / weight.sum(axis=1)
    assert (share <= found.left_out + 1e-6).all()
    assert (found.left_out < 1).all()


def test_support_counts_a_row_equal_to_the_query_as_one() -> None:
    vectors = np.eye(4, dtype=np.float32)
    space = Space.mint(4)
    table = EmbeddingTable.of(Places.create(list("abcd"), LonLat(np.arange(4.0) * 20, np.zeros(4))), vectors, space)
    bank = Bank.of(table, queries=space)
    found = augment_rows(LonLat.of(0.0, 0.0), vectors[:1], bank, mode_of("soft", {"tau": 30.0}))
    assert found.support[0] == pytest.approx(1.0, abs=1e-9)
    found = augment_rows(LonLat.of(0.0, 0.0), vectors[:1], bank, mode_of("geo", {"widths_m": [1e4], "degrees": 0}))
    assert found.support[0] == pytest.approx(1.0, abs=1e-9)
    assert found.bank_m[0] == 0.0


def test_concat_takes_the_row_of_the_same_id_or_the_nearest() -> None:
    bank = bank_of(100)
    own = bank.places.take(np.arange(5))
    augmenter = Augmenter(bank, mode_of("concat"))
    found = augmenter.rows((own.lon, own.lat), bank.keys[:5], ids=own.ids)
    assert np.allclose(block(augmenter, found, "bank"), bank.values[:5], atol=1e-6)
    table = queries(30)
    assert (ask(augmenter, table).reason == NO_OWN).all()
    near = Augmenter(bank, mode_of("concat", {"max_m": 60e3}))
    found = ask(near, table)
    metres = pairwise_m(table.lonlat(), bank.lonlat)
    assert np.array_equal(found.usable, metres.min(axis=1) <= 60e3)
    assert np.allclose(block(near, found, "bank")[found.usable], bank.values[metres.argmin(axis=1)][found.usable])
    with pytest.raises(UsageError, match="no buffer"):
        Augmenter(bank, mode_of("concat"), Masks(buffer_m=1e3))


def test_queries_that_cannot_be_answered_say_why() -> None:
    bank = bank_of(100)
    vectors = np.ones((3, 8), dtype=np.float32)
    vectors[1] = 0
    lon, lat = np.array([np.nan, 0.0, 0.0]), np.array([np.nan, 40.0, 40.0])
    found = Augmenter(bank, mode_of("multiscale", {"widths_m": [1e5]})).rows((lon, lat), vectors)
    assert found.reason.tolist() == [NO_PLACE, NO_DIRECTION, ""]
    assert (found.vectors[:2] == 0).all()
    found = Augmenter(bank, mode_of("soft")).rows((lon, lat), vectors)
    assert found.reason.tolist() == ["", NO_DIRECTION, ""]
    assert np.isnan(found.bank_m[0])


def test_of_another_space_there_is_one_clear_error() -> None:
    keys = make_table(30, 8)
    values = make_table(30, 5)
    with pytest.raises(SpaceMismatch, match="embed the places of the bank with the encoder"):
        Bank.of(values, keys, queries=SPACE)
    with pytest.raises(SpaceMismatch, match="--keys"):
        Augmenter(Bank.of(values, queries=SPACE), mode_of("soft"), query_dims=8)
    with pytest.raises(SpaceMismatch, match="not \\(60, 4\\)"):
        ask(Augmenter(bank_of(), mode_of("soft")), make_table(60, 4))
    # Geography needs no common Space.
    geo = Augmenter(Bank.of(values, queries=SPACE), mode_of("geo"), query_dims=8)
    assert ask(geo, queries()).usable.all()


def test_keys_are_joined_by_id() -> None:
    keys = make_table(50, 8, space=SPACE)
    values = make_table(50, 5)
    order = np.random.default_rng(0).permutation(50)[:40]
    bank = Bank.of(values, keys.take(order), queries=SPACE)
    assert (len(bank), bank.without_key) == (40, 10)
    rows = np.sort(order)
    assert np.array_equal(bank.keys, keys.vectors()[rows])
    assert np.array_equal(bank.values, values.vectors()[rows])
    with pytest.raises(DataError, match="among its keys"):
        Bank.of(values, make_table(5, 8, space=SPACE, prefix="other"), queries=SPACE)


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(DataError, match="has no rows"):
        Bank.of(make_table(5).take([]))


def test_a_bank_without_places_answers_only_by_likeness() -> None:
    plain = EmbeddingTable.of(Places.create([f"r{i}" for i in range(30)]), make_table(30).vectors(), SPACE)
    bank = Bank.of(plain, queries=SPACE)
    assert ask(Augmenter(bank, mode_of("soft")), queries()).usable.all()
    with pytest.raises(DataError, match="geometry"):
        Augmenter(bank, mode_of("geo"))
    with pytest.raises(DataError, match="geometry"):
        Augmenter(bank, mode_of("soft"), Masks(buffer_m=10.0))


@pytest.mark.parametrize("form", ["parquet", "lance"])
def test_a_stored_bank_is_the_bank(form: str, tmp_path) -> None:
    from placevec.table import open_table

    table = make_table(100, 8, space=SPACE)
    write_table(table, tmp_path / f"b.{form}", order="keep")
    stored = Bank.of(open_table(tmp_path / f"b.{form}"), queries=SPACE)
    memory = Bank.of(table, queries=SPACE)
    assert stored.fingerprint == memory.fingerprint
    one, other = (ask(Augmenter(bank, mode_of("multiscale")), queries()) for bank in (stored, memory))
    assert np.array_equal(one.vectors, other.vectors)


def test_the_same_again_and_in_other_batches() -> None:
    bank, table = bank_of(), queries(300)
    one, other = (Augmenter(bank, mode_of("multiscale")) for _ in range(2))
    assert one.settings() == other.settings()
    assert one.space(SPACE) == other.space(SPACE)
    whole, again = ask(one, table), ask(other, table)
    assert np.array_equal(whole.vectors, again.vectors)
    parts = [ask(one, table.take(np.arange(start, start + 100))).vectors for start in (0, 100, 200)]
    assert np.allclose(np.concatenate(parts), whole.vectors, atol=1e-6)
    assert Augmenter(bank, mode_of("multiscale"), Masks(buffer_m=1e4)).space(SPACE) != one.space(SPACE)


def test_the_approximate_index_answers_nearly_alike() -> None:
    pytest.importorskip("faiss")
    exact, near = (Augmenter(bank_of(600, index=index), mode_of("soft", {"k": 32})) for index in ("exact", "faiss"))
    table = queries()
    assert near.settings()["index"] == "faiss"
    assert np.allclose(ask(exact, table).vectors, ask(near, table).vectors, atol=1e-4)


def test_shares_of_a_softmax_add_to_one() -> None:
    bank = bank_of(20)
    part = Alike(bank, 15.0, soft=True, name="soft")
    rows = np.array([[3, 1, -1], [-1, -1, -1]])
    shares = part.shares(rows, np.array([[0.9, 0.5, np.nan], [np.nan] * 3], dtype=np.float32))
    assert shares[0].sum() == pytest.approx(1.0)
    assert shares[0, 0] / shares[0, 1] == pytest.approx(np.exp(15.0 * 0.4), rel=1e-5)
    assert (shares[1] == 0).all()


def test_scale_of_what_does_not_vary() -> None:
    assert scale(np.full((10, 4), 2.0, dtype=np.float32)) == pytest.approx(0.25)
    assert scale(np.zeros((10, 4), dtype=np.float32)) == 1.0


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("best", {}, "no mode is called 'best'"),
        ("soft", {"m": 3}, "no setting 'm'; it has: k, tau"),
        ("soft", {"tau": -1.0}, "tau"),
        ("soft", {"k": 0}, "from 1"),
        ("soft", {"tau": float("nan")}, "tau"),
        ("range+", {"blend": 1.5}, "up to 1"),
        ("geo", {"widths_m": [-5]}, "width"),
    ],
)
def test_modes_refuse_nonsense(name, settings, word) -> None:
    with pytest.raises(UsageError, match=word):
        mode_of(name, settings)


@pytest.mark.parametrize(("buffer_m", "max_m"), [(-1.0, None), (np.nan, None), (10.0, 5.0), (0.0, 0.0)])
def test_masks_refuse_nonsense(buffer_m, max_m) -> None:
    with pytest.raises(UsageError):
        Masks(buffer_m, max_m)
