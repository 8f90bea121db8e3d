import json
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture_oracle import AREA_M2, draw, mixture_at, random_mixture
from placevec.errors import DataError, UsageError
from placevec.geo.areas import polygon_areas
from placevec.geo.boxes import in_polygon
from placevec.geo.mixture import credible_level, credible_regions, even_points
from placevec.geo.sphere import LonLat
from placevec.results import Region

LEVELS = (0.5, 0.8, 0.95)


def check(regions, levels=LEVELS) -> None:
    """What holds for all regions: valid, nested, areas that are those of the polygons."""
    assert tuple(region.level for region in regions) == levels
    for region in regions:
        assert region.polygon.is_valid
        west, south, east, north = region.polygon.bounds
        assert min(west + 180, 180 - east, south + 90, 90 - north) >= 0
    for small, large in pairwise(regions):
        assert shapely.difference(small.polygon, large.polygon).area <= 1e-9 * small.polygon.area
        assert small.area_m2 <= large.area_m2 * (1 + 1e-9)
    areas = polygon_areas(np.array([region.polygon for region in regions], dtype=object))
    assert [region.area_m2 for region in regions] == pytest.approx(areas.tolist())


def mass(law, region, count=20_000):
    p = LonLat.from_unit(draw(law, count))
    inside = in_polygon(p.lon, p.lat, region.polygon).mean()
    return law.weights.sum() * inside + law.floor[0] * min(region.area_m2 / law.area_m2, 1.0)


@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([0.005, 0.03, 0.2]), st.sampled_from([0.0, 0.03]))
@settings(max_examples=25)
def test_valid_nested_and_of_their_mass(seed, m, apart, floor) -> None:
    law = random_mixture(1, m, seed=seed, apart=apart, floor=floor)
    regions = credible_regions(law)
    check(regions)
    for region in regions:
        assert mass(law, region) == pytest.approx(region.level, abs=0.02)


def test_one_kernel_is_a_circle() -> None:
    law = mixture_at([(40, 30)], [1.0], [30e3])
    regions = credible_regions(law, LEVELS)
    check(regions)
    for region in regions:
        assert region.area_m2 == pytest.approx(2 * np.pi * 30e3**2 * -np.log(1 - region.level), rel=0.02)
        assert shapely.get_num_coordinates(region.polygon) > 24
        (x, y), ring = (40, 30), np.array(region.polygon.exterior.coords)
        away = np.hypot((ring[:, 0] - x) * np.cos(np.radians(y)), ring[:, 1] - y)
        assert away.std() / away.mean() < 0.01


def test_a_point_is_inside_as_its_level_says() -> None:
    mixture = random_mixture(12, 6, apart=0.02, floor=0.05)
    for row in range(12):
        law = mixture[row]
        places = LonLat.from_unit(draw(law, 300, row))
        level = credible_level(law, places)
        for region in credible_regions(law):
            clear = np.abs(level - region.level) > 0.008
            inside = in_polygon(places.lon, places.lat, region.polygon)
            assert (inside == (level <= region.level))[clear].all()


def test_a_sharp_peak_beside_a_wide_one_is_not_lost() -> None:
    """300 m beside 150 km: squares of one size would be a million."""
    law = mixture_at([(40, 30), (42, 30.5), (41, 28)], [0.4, 0.5, 0.1], [300.0, 150e3, 2e3])
    regions = credible_regions(law)
    check(regions)
    for region in regions:
        assert mass(law, region) == pytest.approx(region.level, abs=0.02)
        assert shapely.contains_xy(region.polygon, 40, 30)
        assert shapely.get_num_coordinates(region.polygon) < 2000


@pytest.mark.parametrize("level", [0.001, 0.01, 0.1])
def test_the_tip_of_a_peak(level) -> None:
    law = mixture_at([(40.0123, 30.0456), (41, 31)], [0.9, 0.1], [30e3, 90e3])
    region = credible_regions(law, (level,))[0]
    assert region.area_m2 == pytest.approx(-2 * np.pi * 30e3**2 * np.log(1 - level / 0.9), rel=0.15)
    assert shapely.contains_xy(region.polygon, 40.0123, 30.0456)


def test_a_ring_has_a_hole() -> None:
    turn = np.linspace(0, 2 * np.pi, 13)[:-1]
    law = mixture_at([(20 + np.cos(a), np.sin(a)) for a in turn], np.full(12, 1 / 12), [22e3] * 12)
    regions = credible_regions(law)
    check(regions)
    assert not shapely.contains_xy(regions[1].polygon, 20, 0)
    assert any(len(part.interiors) for part in shapely.get_parts(regions[1].polygon))


def test_across_the_antimeridian() -> None:
    law = mixture_at([(179.5, -17), (-179.2, -16.5)], [0.5, 0.5], [50e3, 80e3])
    regions = credible_regions(law)
    check(regions)
    turned = credible_regions(mixture_at([(9.5, -17), (10.8, -16.5)], [0.5, 0.5], [50e3, 80e3]))
    for here, there in zip(regions, turned, strict=True):
        assert here.area_m2 == pytest.approx(there.area_m2, rel=5e-3)
        assert (here.polygon.bounds[0], here.polygon.bounds[2]) == (-180.0, 180.0)


@pytest.mark.parametrize("pole", [90, -90])
def test_around_a_pole(pole) -> None:
    sign = np.sign(pole)
    law = mixture_at([(0, sign * 89.5), (90, sign * 88)], [0.5, 0.5], [100e3, 120e3])
    regions = credible_regions(law)
    check(regions)
    for region in regions:
        assert mass(law, region) == pytest.approx(region.level, abs=0.02)
        assert shapely.intersects_xy(region.polygon, 33.0, pole)
        assert len(shapely.get_parts(region.polygon)) == 1


def test_a_ring_around_the_pole_has_its_hole_there() -> None:
    turn = np.linspace(-180, 180, 13)[:-1]
    law = mixture_at([(lon, 85.0) for lon in turn], np.full(12, 1 / 12), [120e3] * 12)
    region = credible_regions(law, (0.8,))[0]
    assert region.polygon.is_valid
    assert mass(law, region) == pytest.approx(0.8, abs=0.02)
    assert not shapely.intersects_xy(region.polygon, 10.0, 89.9)


def test_cut_to_the_area_of_study() -> None:
    domain = shapely.box(60, 24, 75, 36)
    law = mixture_at([(60, 30), (70, 40)], [0.7, 0.3], [60e3, 30e3])
    regions = credible_regions(law, domain=domain)
    check(regions)
    assert all(shapely.covers(domain, region.polygon) for region in regions)
    outside = credible_regions(mixture_at([(0, 0)], [1.0], [1e3]), domain=domain)
    assert all(region.polygon.equals(domain) for region in outside)


def test_what_the_hypotheses_do_not_reach_is_the_whole_area() -> None:
    domain = shapely.box(60, 24, 75, 36)
    law = mixture_at([(66, 30)], [1.0], [10e3], floor=0.3, ground=even_points(domain), area_m2=1.9e12)
    regions = credible_regions(law, (0.5, 0.9, 1.0), domain)
    check(regions, (0.5, 0.9, 1.0))
    assert regions[2].polygon.equals(domain)
    # 90 %: the hypothesis, and two thirds of the floor.
    assert regions[1].area_m2 / polygon_areas(np.array([domain]))[0] == pytest.approx(2 / 3, abs=0.05)
    earth = credible_regions(mixture_at([(66, 30)], [0.0], [10e3]), (0.5,))[0]
    assert earth.area_m2 == pytest.approx(5.1e14, rel=0.001)
    half, most = credible_regions(mixture_at([(66, 30)], [1.0], [5e7]), (0.5, 0.999))
    assert half.area_m2 == pytest.approx(2.55e14, rel=0.02)
    assert most.area_m2 == pytest.approx(5.1e14, rel=0.002)


def test_other_levels_are_drawn_than_are_named() -> None:
    law = random_mixture(1, 4)
    named = credible_regions(law, (0.5, 0.8), drawn=(0.6, 0.9))
    plain = credible_regions(law, (0.6, 0.9))
    assert [region.level for region in named] == [0.5, 0.8]
    assert all(a.polygon.equals(b.polygon) for a, b in zip(named, plain, strict=True))
    assert Region(*named[0]).area_m2 == plain[0].area_m2


def test_the_real_area_of_study(data_dir) -> None:
    found = json.loads((data_dir / "pakistan" / "geoBoundaries-PAK-ADM1.geojson").read_text())
    domain = shapely.union_all([shapely.geometry.shape(one["geometry"]) for one in found["features"]])
    law = mixture_at([(67, 24.9), (74.3, 31.5), (66.9, 30.2)], [0.5, 0.4, 0.1], [30e3, 60e3, 120e3], floor=0.03)
    regions = credible_regions(law, domain=domain)
    check(regions)
    assert regions[2].area_m2 < 0.6 * AREA_M2
    assert all(shapely.difference(region.polygon, domain).area < 1e-6 for region in regions)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"levels": (0.8, 0.5)}, UsageError),
        ({"levels": (0.0, 0.5)}, UsageError),
        ({"levels": (0.5, 1.5)}, UsageError),
        ({"levels": (0.5,), "drawn": (0.5, 0.8)}, UsageError),
        ({"domain": shapely.Point(0, 0)}, DataError),
    ],
)
def test_what_cannot_be_drawn(arguments, error) -> None:
    with pytest.raises(error):
        credible_regions(random_mixture(1, 2), **arguments)
    with pytest.raises(DataError, match="one mixture at a time"):
        credible_regions(random_mixture(2, 2))
