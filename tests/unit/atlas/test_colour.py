import json
from dataclasses import replace

import numpy as np
import pytest

from placevec.atlas import palettes
from placevec.atlas.colour import Agreement, Anchors, ColourBasis, channels_to_colours, fit_basis
from placevec.errors import FormatError, SchemaError, SpaceMismatch, UsageError


def vectors(rows: int, dims: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = 4.0 / np.arange(1, dims + 1)
    turn, _ = np.linalg.qr(np.random.default_rng(99).normal(size=(dims, dims)))
    return ((rng.normal(size=(rows, dims)) * scale) @ turn + 3).astype(np.float32)


def test_the_basis_is_that_of_a_plain_svd_of_all_tables_together():
    parts = [vectors(700, seed=1), vectors(40_000, seed=2), vectors(5, seed=3)]
    basis = fit_basis(parts, ["s", "s", "s"])
    every = np.concatenate(parts).astype(np.float64)
    _, sizes, axes = np.linalg.svd(every - every.mean(axis=0), full_matrices=False)
    assert np.allclose(np.abs(np.sum(basis.components * axes[:3], axis=1)), 1, atol=1e-9)
    assert np.allclose(basis.explained, (sizes**2 / np.sum(sizes**2))[:3])
    assert np.allclose(basis.spectrum.sum(), 1)
    assert basis.rows == len(every)


def test_equal_vectors_have_equal_colours_in_every_table():
    one, two = vectors(300, seed=1), vectors(300, seed=2) + 2
    two[:50] = one[:50]
    basis = fit_basis([one, two], ["s"])
    assert np.array_equal(basis.apply(one)[:50], basis.apply(two)[:50])


def test_the_basis_does_not_depend_on_how_the_rows_are_cut():
    whole = vectors(40_000)
    cut = fit_basis((whole[at : at + 777] for at in range(0, len(whole), 777)), ["s"], sample=1000)
    once = fit_basis([whole], ["s"], sample=1000)
    assert np.allclose(cut.components, once.components, atol=1e-10)
    assert np.allclose(cut.low, once.low, atol=1e-8)
    assert np.allclose(cut.high, once.high, atol=1e-8)


def test_the_sampled_stretch_is_near_that_of_all_rows():
    data = vectors(40_000)
    scores = (basis := fit_basis([data], ["s"], sample=5_000)).scores(data)
    low, high = np.percentile(scores, [2, 98], axis=0)
    assert np.allclose(basis.low, low, atol=0.05 * (high - low).max())
    assert np.allclose(basis.high, high, atol=0.05 * (high - low).max())


def test_the_largest_entry_of_each_component_is_positive():
    for seed in range(5):
        basis = fit_basis([vectors(200, seed=seed)], ["s"])
        for axis in basis.components:
            assert axis[np.abs(axis).argmax()] > 0


def test_the_stretch_is_robust_to_outliers():
    data = vectors(5000)
    basis = fit_basis([data], ["s"])
    dirty = np.concatenate([data, data.mean(axis=0) + 40 * basis.components[:1].astype(np.float32)])
    again = fit_basis([dirty], ["s"])
    assert np.abs(again.apply(data).astype(int) - basis.apply(data).astype(int)).mean() < 4
    colours = basis.apply(data)
    assert np.all(colours.max(axis=0) == 255)
    assert np.all(colours.min(axis=0) == 0)
    assert np.all(np.abs(colours.mean(axis=0) - 127.5) < 15)


@pytest.mark.parametrize("dims", [1, 2])
def test_fewer_than_three_directions_leave_channels_mid_grey(dims):
    basis = fit_basis([vectors(100, dims=dims)], ["s"])
    colours = basis.apply(vectors(100, dims=dims))
    assert np.all(colours[:, dims:] == 128)
    assert basis.explained[dims:].tolist() == [0.0] * (3 - dims)
    assert len(np.unique(colours[:, 0])) > 10


def test_equal_vectors_everywhere_are_mid_grey():
    data = np.full((10, 5), 0.1, dtype=np.float32)
    assert np.all(fit_basis([data], ["s"]).apply(data) == 128)


def test_json_gives_back_the_same_basis_to_the_bit():
    basis = fit_basis([vectors(500)], ["space-1"])
    again = ColourBasis.from_json(basis.to_json())
    assert again.space == "space-1"
    assert again.clip == (2.0, 98.0)
    assert np.array_equal(again.apply(vectors(500)), basis.apply(vectors(500)))
    assert again.to_json() == basis.to_json()


def test_json_keeps_the_places_and_the_agreement() -> None:
    data = vectors(60)
    basis = fit_basis([data], ["s"])
    lon = np.append(np.linspace(-9, 3, 59), np.nan)
    anchors = Anchors(tuple(f"p{i}" for i in range(60)), lon, np.append(np.full(59, 40.0), np.nan), basis.scores(data))
    kept = replace(basis, anchors=anchors, agreement=Agreement("old", 60, 0.5, 0.6))
    again = ColourBasis.from_json(kept.to_json())
    assert again.agreement == kept.agreement
    assert again.anchors is not None
    assert again.anchors.ids == anchors.ids
    assert np.allclose(again.anchors.lon, lon, equal_nan=True)
    assert np.allclose(again.anchors.scores, anchors.scores, rtol=1e-5)
    assert again.to_json() == kept.to_json()
    broken = json.loads(kept.to_json())
    broken["anchors"]["lon"] = broken["anchors"]["lon"][:5]
    with pytest.raises(FormatError, match="differ in number"):
        ColourBasis.from_json(json.dumps(broken))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"colour_basis": 2}', '{"colour_basis": 1, "mean": [1]}'])
def test_what_is_no_basis_is_refused(text):
    with pytest.raises(FormatError):
        ColourBasis.from_json(text)


def test_a_basis_with_a_wrong_shape_is_refused():
    fields = json.loads(fit_basis([vectors(50)], ["s"]).to_json())
    fields["components"] = fields["components"][:2]
    with pytest.raises(FormatError, match="components"):
        ColourBasis.from_json(json.dumps(fields))


def test_two_spaces_never_share_a_basis():
    with pytest.raises(SpaceMismatch, match="'?a'?, '?b'?"):
        fit_basis([vectors(9), vectors(9)], ["a", "b"])
    with pytest.raises(SpaceMismatch):
        fit_basis([vectors(9)], ["a"]).apply(vectors(9), space="b")


@pytest.mark.parametrize("parts", [[], [np.zeros((0, 3), np.float32)], [np.zeros(3, np.float32)]])
def test_nothing_to_fit_on_is_refused(parts):
    with pytest.raises(SchemaError):
        fit_basis(parts, ["s"])


def test_bad_input_is_refused_by_name():
    broken = vectors(9)
    broken[4, 2] = np.nan
    with pytest.raises(SchemaError, match="row 4"):
        fit_basis([broken], ["s"])
    with pytest.raises(SchemaError, match="dimensions"):
        fit_basis([vectors(9), vectors(9, dims=5)], ["s"])
    with pytest.raises(SchemaError, match="dimensions"):
        fit_basis([vectors(9)], ["s"]).apply(vectors(9, dims=5))
    with pytest.raises(UsageError, match="clip"):
        fit_basis([vectors(9)], ["s"], clip=(98, 2))
    with pytest.raises(UsageError):
        fit_basis([vectors(9)], [])


MACHADO = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colours: np.ndarray, sight: str) -> np.ndarray:
    share = colours / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(MACHADO[sight]).T, 0, 1)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = seen @ matrix.T / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("sight", MACHADO)
def test_the_classes_can_be_told_apart_by_every_colour_vision(sight):
    seen = lab(palettes.CATEGORICAL, sight)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    assert len(seen) == 20
    assert apart[np.triu_indices(20, 1)].min() > 12


@pytest.mark.parametrize("sight", MACHADO)
@pytest.mark.parametrize("table", ["VIRIDIS", "CIVIDIS"])
def test_the_sequential_tables_grow_lighter_for_every_colour_vision(sight, table):
    lightness = lab(getattr(palettes, table), sight)[:, 0]
    assert np.all(np.diff(lightness) > -0.3)
    assert lightness[-1] - lightness[0] > 60


@pytest.mark.parametrize("sight", MACHADO)
def test_the_two_ends_of_the_diverging_table_differ_in_more_than_lightness(sight):
    seen = lab(palettes.DIVERGING, sight)
    assert abs(int(seen[:, 0].argmax()) - 128) < 4
    for share in (40, 80):
        assert np.linalg.norm((seen[128 - share] - seen[127 + share])[1:]) > 18


def test_scales_colour_missing_values_grey_and_clip_the_rest():
    colours = palettes.sequential([-9, 0, 1, 9, np.nan], 0, 1)
    assert np.array_equal(colours[0], palettes.VIRIDIS[0])
    assert np.array_equal(colours[3], palettes.VIRIDIS[-1])
    assert np.array_equal(colours[4], palettes.MISSING)
    assert np.array_equal(palettes.categorical([-1])[0], palettes.MISSING)
    assert palettes.sequential([3.0, 3.0], 3, 3).shape == (2, 3)
    with pytest.raises(UsageError, match="20"):
        palettes.categorical([20])


@pytest.mark.parametrize("sight", MACHADO)
def test_the_opponent_scheme_shows_the_first_two_components_to_every_colour_vision(sight):
    steps = np.linspace(0, 1, 9)
    first = np.stack([steps, np.full(9, 0.5), np.full(9, 0.5)], axis=1)
    light = lab(channels_to_colours(first, "opponent"), sight)[:, 0]
    assert np.all(np.diff(light) > 5)
    ends = lab(channels_to_colours(first[:, [1, 0, 2]], "opponent"), sight)
    assert np.linalg.norm(ends[0] - ends[-1]) > 30


def test_cielab_is_inverted_and_unknown_schemes_are_refused():
    assert palettes.from_lab([[100, 0, 0], [0, 0, 0]]).tolist() == [[255] * 3, [0] * 3]
    colours = palettes.CATEGORICAL
    assert np.abs(palettes.from_lab(lab(colours, "normal")).astype(int) - colours).max() <= 1
    with pytest.raises(UsageError, match="scheme"):
        channels_to_colours(np.zeros((1, 3)), "hsv")
