"""Perceptual hashes: what looks alike is near, what does not is far, and the search misses nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from placevec.errors import DataError, UsageError
from placevec.measure.phash import _ones, _within, hashes, near_duplicates, positions, spectra


def pictures(n: int, size: int = 64, seed: int = 0, bands: int = 3) -> np.ndarray:
    """Smooth random images (n, bands, size, size) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (n, bands, 8, 8))
    fine = coarse.repeat(size // 8, 2).repeat(size // 8, 3)
    blurred = sum(np.roll(fine, shift, axis) for shift in range(-3, 4) for axis in (2, 3)) / 14
    return np.clip(blurred + rng.normal(0, 4, blurred.shape), 0, 255).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _ones(hashes(spectra(a))[0] ^ hashes(spectra(b))[0])


def test_spectra_are_those_of_the_whole_transform() -> None:
    image = pictures(1)
    grey = np.tensordot([0.299, 0.587, 0.114], image[0].astype(float), axes=1)
    small = grey.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.allclose(spectra(image)[0], dctn(small, norm="ortho")[:8, :8])


def test_what_changes_little_stays_near_and_others_are_far() -> None:
    image = pictures(40)
    rng = np.random.default_rng(1)
    noisy = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    half = image.reshape(40, 3, 32, 2, 32, 2).mean(axis=(3, 5)).astype(np.uint8)
    bright = np.clip(image * 0.8 + 20, 0, 255).astype(np.uint8)
    for changed in (noisy, half, bright):
        assert np.median(distance(image, changed)) <= 2
        assert distance(image, changed).max() <= 10
    others = distance(image, pictures(40, seed=9))
    assert 26 <= others.mean() <= 38
    assert others.min() > 12


def test_any_size_and_any_bands() -> None:
    image = pictures(3, 96, bands=5)
    assert spectra(image).shape == (3, 8, 8)
    odd = image[:, :, :77, :50]
    assert np.isfinite(spectra(odd)).all()
    with pytest.raises(DataError, match=r"\(3, 96, 96\)"):
        spectra(image[:, 0])


def test_positions_are_the_spectra_of_turned_and_mirrored_images() -> None:
    image = pictures(2)
    turned = [np.rot90(one, k, (2, 3)) for one in (image, image[..., ::-1]) for k in range(4)]
    mine = positions(spectra(image))
    assert mine.shape == (8, 2, 8, 8)
    met = set()
    for one in turned:
        same = [k for k in range(8) if np.allclose(mine[k], spectra(np.ascontiguousarray(one)), atol=1e-6)]
        assert len(same) == 1
        met.add(same[0])
    assert met == set(range(8))


@given(st.integers(0, 16), st.integers(0, 10_000), st.booleans())
def test_the_banded_search_finds_what_all_pairs_find(within: int, seed: int, clustered: bool) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**64, 30, dtype=np.uint64)
    asked = rng.integers(0, 2**64, 20, dtype=np.uint64)
    if clustered:  # some differ in a few bits, some in none
        asked[:15] = codes[rng.integers(0, 30, 15)]
        for k in range(15):
            for bit in rng.integers(0, 64, k):
                asked[k] ^= np.uint64(1) << np.uint64(bit)
        codes[5:10] = codes[0]
    query, item, bits = _within(asked, codes, within)
    found = sorted(zip(query.tolist(), item.tolist(), bits.tolist(), strict=True))
    slow = [
        (q, i, (int(a) ^ int(c)).bit_count())
        for q, a in enumerate(asked)
        for i, c in enumerate(codes)
        if (int(a) ^ int(c)).bit_count() <= within
    ]
    assert found == slow


def test_duplicates_between_two_sets() -> None:
    train, test = pictures(50), pictures(10, seed=5)
    test[3] = train[7]
    test[4] = train[9, :, ::-1]  # upside down
    test[5] = np.clip(train[11].astype(int) + 3, 0, 255)
    plain = near_duplicates(spectra(test), spectra(train), 6)
    assert set(plain.found.tolist()) == {3, 5}
    assert plain.nearest[3] == 7
    assert plain.distance[3] == 0
    assert plain.pairs == 2
    assert plain.share == pytest.approx(0.2)
    turned = near_duplicates(spectra(test), spectra(train), 6, turned=True)
    assert set(turned.found.tolist()) == {3, 4, 5}
    assert turned.nearest[4] == 9
    assert turned.pairs == 3


def test_flat_images_have_no_hash() -> None:
    flat = np.full((2, 3, 40, 40), 17, dtype=np.uint8)
    images = np.concatenate([flat, pictures(1, 40)])
    found = near_duplicates(spectra(images), spectra(images))
    assert found.compared.tolist() == [False, False, True]
    assert found.nearest.tolist() == [-1, -1, 2]


def test_a_distance_out_of_range_is_refused() -> None:
    s = spectra(pictures(2))
    with pytest.raises(UsageError, match="17"):
        near_duplicates(s, s, 17)
    nobody = near_duplicates(s, np.empty((0, 8, 8)))
    assert (nobody.pairs, nobody.share, len(nobody.found)) == (0, 0.0, 0)


@pytest.mark.parametrize("turned", [False, True])
def test_copies_are_counted_and_not_held_as_pairs(turned: bool) -> None:
    train, test = spectra(pictures(12)), spectra(pictures(4, seed=5))
    train = train[np.random.default_rng(0).integers(0, 12, 40)]
    test = np.concatenate([test, train[[3, 3, 8]], positions(train[5:6])[:, 0]])
    found = near_duplicates(test, train, 8, turned=turned)
    shown = positions(test) if turned else test[None]
    bits = np.array([_ones(hashes(one)[0][:, None] ^ hashes(train)[0][None]) for one in shown]).min(axis=0)
    assert found.pairs == int((bits <= 8).sum())
    best = bits.min(axis=1)
    assert found.distance.tolist() == np.where(best <= 8, best, -1).tolist()
    assert [bits[row, found.nearest[row]] for row in found.found] == found.distance[found.found].tolist()
    # Ten thousand copies would be a hundred million pairs.
    many = near_duplicates(train[[0] * 10_000], train[[0] * 10_000])
    assert (many.pairs, many.share, set(many.nearest.tolist())) == (10**8, 1.0, {0})


@pytest.mark.parametrize("turned", [False, True])
def test_with_nothing_to_compare_nothing_is_found(turned: bool) -> None:
    some, flat = spectra(pictures(2)), spectra(np.full((2, 3, 40, 40), 17, dtype=np.uint8))
    for tested, others in ((some[:0], some), (flat, some), (some, flat), (some[:0], some[:0])):
        found = near_duplicates(tested, others, turned=turned)
        assert (len(found.nearest), found.pairs, len(found.found)) == (len(tested), 0, 0)
