"""Several banks side by side, against each bank's own augmenter and dense answers."""

import numpy as np
import pytest

from conftest import make_table
from placevec.errors import DataError, SpaceMismatch, UsageError
from placevec.features.retrieval import MODES, Augmenter, Bank, Folded, Fusion, Masks, mode_of
from placevec.features.retrieval.blocks import CONTEXT, NO_OWN
from placevec.features.retrieval.fusion import labels_of, once_harmonic
from placevec.geo.sphere import EARTH_RADIUS_M, pairwise_m
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places

SPACE = Space.mint(8)
KEYS = make_table(300, 8, space=SPACE)
GEO = mode_of("geo", {"widths_m": [60e3, 200e3], "degrees": 4})
MULTI = mode_of("multiscale", {"k": 40, "widths_m": [60e3, 200e3], "degrees": 4})


def bank(name: str, width: int, rows=None, seed=1) -> Bank:
    keys = KEYS if rows is None else KEYS.take(rows)
    values = np.random.default_rng(seed).standard_normal((len(KEYS), width)).astype(np.float32)
    some = values if rows is None else values[rows]
    return Bank.of(EmbeddingTable.of(keys.places(), some, Space.mint(width)), keys, queries=SPACE, name=name)


IMAGE, RAW = bank("image.parquet", 5), bank("raw.parquet", 3, seed=2)


def ask(augmenter, table=KEYS):
    return augmenter.rows(table.lonlat(), table.vectors(), ids=table.ids, keys=table.keys)


def columns(fusion: Fusion, found, name: str) -> np.ndarray:
    (one,) = (block for block in fusion.blocks if block.name == name)
    return found.vectors[:, one.start : one.stop].astype(np.float64) / one.weight


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("folds", [0, 4])
def test_one_bank_is_its_augmenter(name: str, folds: int) -> None:
    mode, masks = mode_of(name), Masks() if name == "concat" else Masks(buffer_m=20e3)
    if name == "concat" and folds:
        with pytest.raises(UsageError, match="no folds"):
            Fusion([IMAGE], mode, folds=folds)
        return
    augmenter, fusion = Augmenter(IMAGE, mode, masks), Fusion([IMAGE], mode, masks, folds=folds)
    one = ask(Folded(augmenter, folds) if folds else augmenter)
    other = ask(fusion)
    assert fusion.blocks == augmenter.blocks
    assert fusion.names == augmenter.names
    assert np.array_equal(one.vectors, other.vectors)
    assert np.array_equal(one.support, other.support)
    assert np.array_equal(one.bank_m, other.bank_m, equal_nan=True)
    assert np.array_equal(one.reason, other.reason)


def test_banks_stand_side_by_side_and_query_and_harmonics_once() -> None:
    fusion = Fusion([IMAGE, RAW], MULTI, own=True)
    wanted = ["query", "harmonics"]
    for label in ("image", "raw"):
        wanted += [f"{label}/{name}" for name in ("own", "soft", "geo-60km", "geo-200km")]
    assert [block.name for block in fusion.blocks] == wanted
    assert [block.stop - block.start for block in fusion.blocks] == [8, 15, 5, 5, 5, 5, 3, 3, 3, 3]
    assert fusion.blocks[-1].stop == fusion.dims == len(fusion.names)
    assert fusion.names[-1] == "raw/geo-200km:2"
    found = ask(fusion)
    for label, held in (("image", IMAGE), ("raw", RAW)):
        alone = Augmenter(held, MULTI)
        answer = ask(alone)
        for block in alone.blocks:
            name = block.name if block.name in ("query", "harmonics") else f"{label}/{block.name}"
            mine = answer.vectors[:, block.start : block.stop].astype(np.float64) / block.weight
            assert np.allclose(columns(fusion, found, name), mine, atol=1e-6), name
        assert np.allclose(columns(fusion, found, f"{label}/own"), held.values, atol=1e-6)
    assert fusion.widths_m == (60e3, 200e3, 60e3, 200e3)


def test_every_block_has_one_scale() -> None:
    fusion = Fusion([IMAGE, RAW], MULTI, own=True)
    found = ask(fusion)
    for block in fusion.blocks:
        spread = found.vectors[:, block.start : block.stop].astype(np.float64).var(axis=0).sum()
        assert spread == pytest.approx(1.0, rel=0.02), block


def test_own_rows_change_nothing_in_what_is_looked_up() -> None:
    """The value of one row is a flag: it shows in its own block, and in no other of its place."""
    flags = EmbeddingTable.of(KEYS.places(), np.eye(300, dtype=np.float32), Space.mint(300))
    flagged = Bank.of(flags, KEYS, queries=SPACE)
    mode = mode_of("multiscale", {"k": 300, "widths_m": [60e3, 300e3], "degrees": 0})
    fusion = Fusion([flagged], mode, Masks(buffer_m=40e3), own=True)
    found = ask(fusion)
    assert np.allclose(columns(fusion, found, "own"), np.eye(300))
    near = pairwise_m(KEYS.lonlat(), KEYS.lonlat()) <= 40e3
    assert near.sum() > 300
    for name in ("soft", "geo-60km", "geo-300km"):
        shown = columns(fusion, found, name)
        assert (shown[near] == 0).all(), name
        assert shown.any()


@pytest.mark.parametrize("masks", [Masks(), Masks(buffer_m=40e3), Masks(max_m=150e3)], ids=str)
def test_a_context_is_the_dense_mean_of_all_around(masks: Masks) -> None:
    fusion = Fusion([IMAGE, RAW], MULTI, masks, own=True, context=True)
    found = ask(fusion)
    metres = pairwise_m(KEYS.lonlat(), KEYS.lonlat())
    chord = 2 * np.sin(metres / EARTH_RADIUS_M / 2)
    for label, held in (("image", IMAGE), ("raw", RAW)):
        for width, name in ((60e3, "geo-60km"), (200e3, "geo-200km")):
            weight = np.exp(-((chord * EARTH_RADIUS_M / width) ** 2) / 2) * (metres <= (masks.max_m or np.inf))
            wanted = weight @ held.values / weight.sum(axis=1, keepdims=True)
            assert np.allclose(columns(fusion, found, f"{label}/{name}"), wanted, atol=3e-3)
        # What is most alike is looked up elsewhere all the same.
        apart = Augmenter(held, MULTI, masks)
        soft = next(block for block in apart.blocks if block.name == "soft")
        mine = ask(apart).vectors[:, soft.start : soft.stop] / soft.weight
        assert np.allclose(columns(fusion, found, f"{label}/soft"), mine, atol=1e-5)
    assert (found.support >= 0.999).all()
    assert np.allclose(found.bank_m, 0.0, atol=0.1)
    assert fusion.settings()["context"] == CONTEXT == "the kernel means include the place itself"
    assert Fusion([IMAGE], MULTI).settings()["context"] == ""


def test_a_place_that_a_bank_does_not_hold_says_which() -> None:
    few = bank("raw.parquet", 3, np.arange(20, 300), seed=2)
    found = ask(Fusion([IMAGE, few], GEO, own=True))
    assert (found.reason[:20] == f"raw: {NO_OWN}").all()
    assert (found.vectors[:20] == 0).all()
    assert (found.support[:20] == 0).all()
    assert found.usable[20:].all()
    alone = ask(Fusion([few], GEO, own=True))
    assert (alone.reason[:20] == NO_OWN).all()
    # Without its own row it is answered as any other place.
    assert ask(Fusion([IMAGE, few], GEO)).usable.all()


def test_of_several_banks_the_least_support_counts() -> None:
    few = bank("raw.parquet", 3, np.arange(0, 300, 10), seed=2)
    both, dense, thin = (ask(Fusion(banks, GEO)) for banks in ([IMAGE, few], [IMAGE], [few]))
    assert np.array_equal(both.support, np.minimum(dense.support, thin.support))
    assert np.array_equal(both.bank_m, np.minimum(dense.bank_m, thin.bank_m))


def test_a_row_without_a_geometry_is_its_own_row_but_found_by_nobody() -> None:
    geometry = KEYS.geometries()
    geometry[3] = None
    values = EmbeddingTable.of(
        Places.create(KEYS.ids, geometry=geometry), np.eye(300, dtype=np.float32), Space.mint(300)
    )
    fusion = Fusion([Bank.of(values, name="raw")], GEO, own=True, query_dims=8)
    found = ask(fusion)
    assert columns(fusion, found, "own")[3, 3] == pytest.approx(1.0)
    assert (columns(fusion, found, "geo-60km")[:, 3] == 0).all()


def test_widths_are_learned_for_each_bank() -> None:
    lonlat = KEYS.lonlat()
    rng = np.random.default_rng(0)
    turn = rng.standard_normal((2, 6))
    made = []
    for name, scale in (("fine", 3.0), ("coarse", 0.2)):
        field = np.cos(np.stack([lonlat.lon, lonlat.lat], axis=1) @ turn * scale + np.arange(6)).astype(np.float32)
        made.append(Bank.of(EmbeddingTable.of(KEYS.places(), field, Space.mint(6)), name=name))
    fusion = Fusion(made, mode_of("geo"), query_dims=8)
    learned = [one["bandwidths"]["metres"] for one in fusion.settings()["banks"]]
    for one, held in zip(learned, made, strict=True):
        assert tuple(one) == Augmenter(held, mode_of("geo"), query_dims=8).bandwidths.metres
    assert fusion.widths_m == tuple(learned[0]) + tuple(learned[1])
    assert max(learned[0]) < max(learned[1])


def test_carried_blocks_keep_their_names_and_columns() -> None:
    carried = [
        {"name": "query", "start": 0, "stop": 3, "weight": 0.5},
        {"name": "own", "start": 3, "stop": 8, "weight": 2.0},
    ]
    fusion = Fusion([RAW], GEO, own=True, carried=carried)
    assert [block.name for block in fusion.blocks] == [
        "query", "own", "harmonics", "raw/own", "raw/geo-60km", "raw/geo-200km",
    ]  # fmt: skip
    assert [block.to_json() for block in fusion.blocks[:2]] == carried
    assert np.array_equal(ask(fusion).vectors[:, :8], KEYS.vectors())
    with pytest.raises(SpaceMismatch, match="end at 3"):
        Fusion([RAW], GEO, carried=carried[:1])


def test_harmonics_are_not_added_twice() -> None:
    carried = [{"name": "harmonics", "start": 0, "stop": 8}]
    assert once_harmonic(GEO, carried).degrees == 0
    assert once_harmonic(GEO, ()) == GEO
    assert once_harmonic(mode_of("soft"), carried) == mode_of("soft")
    assert "harmonics-2" in [block.name for block in Fusion([RAW], GEO, carried=carried).blocks]


def test_labels_are_short_and_unlike() -> None:
    def named(*names: str) -> tuple[str, ...]:
        return labels_of([bank(name, 2) for name in names])

    assert named("image.parquet", "raw.lance") == ("image", "raw")
    assert named("the bank", "the bank", "x/raw.parquet") == ("bank", "bank-2", "raw")
    assert named("a/v.parquet", "b/v.parquet", "c/v.parquet") == ("v", "v-2", "v-3")


def test_the_space_is_that_of_what_is_in_it() -> None:
    def space(*banks: Bank, **more) -> Space:
        return Fusion(banks, GEO, **more).space(SPACE)

    renamed = bank("other.parquet", 3, seed=2)
    same = [Bank(RAW.places, RAW.values, RAW.space, fingerprint=RAW.fingerprint, name=n) for n in ("a", "b")]
    assert space(same[0], query_dims=8) == space(same[1], query_dims=8)
    assert space(IMAGE, RAW) != space(RAW, IMAGE)
    assert space(IMAGE, RAW) != space(IMAGE, renamed)
    assert space(IMAGE, own=True) != space(IMAGE)
    assert space(IMAGE, own=True, context=True) != space(IMAGE, own=True)
    assert space(IMAGE, folds=3) != space(IMAGE)
    assert set(space(IMAGE, RAW).parents) == {SPACE.id, IMAGE.space.id, RAW.space.id}


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"context": True}, "--own"),
        ({"own": True, "mode": mode_of("concat")}, "once more"),
        ({"own": True, "context": True, "mode": mode_of("soft")}, "take geo or multiscale"),
        ({"own": True, "context": True, "masks": Masks(buffer_m=1e4)}, "10 km would change nothing"),
        ({"own": True, "context": True, "folds": 3}, "take one of them"),
        ({"folds": 1}, "2 or more"),
        ({"banks": []}, "no bank"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_does_not_go_together_is_refused(more, word) -> None:
    with pytest.raises(UsageError, match=word):
        Fusion(**{"banks": [IMAGE, RAW], "mode": GEO, **more})


def test_a_bank_that_cannot_answer_is_named() -> None:
    foreign = Bank.of(make_table(30, 3), name="prices.parquet")
    with pytest.raises(SpaceMismatch, match=r"prices\.parquet"):
        Fusion([IMAGE, foreign], MULTI)
    plain = EmbeddingTable.of(Places.create(["a", "b"]), np.eye(2, dtype=np.float32), Space.mint(2))
    with pytest.raises(DataError, match=r"no row of plain\.parquet"):
        Fusion([IMAGE, Bank.of(plain, name="plain.parquet")], GEO)
