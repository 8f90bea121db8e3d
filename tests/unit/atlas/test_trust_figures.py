"""The map of errors, the reliability diagram and the risk-coverage curve: drawn, the same each time, and honest."""

import io

import numpy as np
import pytest
import shapely
from PIL import Image

from placevec.atlas.error_maps import _ends, error_map
from placevec.atlas.trust_charts import reliability_figure, risk_figure
from placevec.errors import SchemaError
from placevec.geo.sphere import LonLat, destination


def picture(path):
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def some(lon, lat, n=30, seed=0):
    rng = np.random.default_rng(seed)
    truth = LonLat((lon + rng.uniform(-3, 3, n) + 180) % 360 - 180, lat + rng.uniform(-3, 3, n))
    km = rng.exponential(60, n) + 0.1
    return truth, destination(truth, rng.uniform(0, 360, n), 1000 * km), km


@pytest.mark.parametrize(("lon", "lat", "layout"), [(70.0, 30.0, "narrow"), (180.0, -17.0, "wide")])
def test_a_map_of_errors(tmp_path, lon, lat, layout):
    truth, said, km = some(lon, lat)
    path = error_map(tmp_path / "map.png", truth, said, km, title="Where it errs", layout=layout)
    drawn = picture(path)
    # The map of a region across the antimeridian is no map of the whole Earth.
    assert drawn.shape[0] > 500
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 200
    again = error_map(tmp_path / "again.png", truth, said, km, title="Where it errs", layout=layout)
    assert again.read_bytes() == path.read_bytes()


def test_regions_are_white_ground_with_borders(tmp_path):
    truth, said, km = some(70.0, 30.0, 3)
    box = shapely.box(64, 24, 76, 36)
    with_box = picture(
        error_map(tmp_path / "a.png", truth, said, km, title="A", regions=np.array([box], dtype=object), note="note")
    )
    middle = with_box[with_box.shape[0] // 2 - 60 : with_box.shape[0] // 2, 200:500]
    assert (middle == 255).all(axis=2).mean() > 0.5


def test_the_scale_spans_at_least_a_factor_of_ten():
    low, high = _ends(np.full(20, 30.0))
    assert high / low == pytest.approx(10)
    assert low < 30 < high
    assert _ends(np.linspace(1, 1000, 200))[1] > 900


def test_a_single_photo_without_error_is_drawn(tmp_path):
    one = LonLat.of(10, 50)
    assert error_map(tmp_path / "one.png", one, one, np.zeros(1), title="One").is_file()
    with pytest.raises(SchemaError, match="0 places"):
        error_map(tmp_path / "none.png", one[:0], one[:0], np.zeros(0), title="None")


def test_reliability_and_risk_are_drawn(tmp_path):
    said = np.array([0.05, 0.35, 0.95])
    path = reliability_figure(
        tmp_path / "r.png", said, said**2, [0.5, 0.3, 0.2], coverage={0.5: 0.4, 0.8: 0.82}, words="ECE 0.1\nBrier 0.2"
    )
    drawn = picture(path)
    blue = (np.abs(drawn.astype(int) - (0, 114, 178)).max(axis=2) <= 2).sum()
    orange = (np.abs(drawn.astype(int) - (213, 94, 0)).max(axis=2) <= 2).sum()
    assert blue > 200
    assert orange > 30
    plain = picture(reliability_figure(tmp_path / "p.png", said, said, [0.5, 0.3, 0.2]))
    assert not (np.abs(plain.astype(int) - (213, 94, 0)).max(axis=2) <= 2).any()
    x = np.linspace(0.1, 1, 10)
    curve = risk_figure(tmp_path / "c.png", [("by confidence", x, 50 * x), ("best order", x, 30 * x)], constant=50.0)
    assert picture(curve).shape[0] > 300


def test_nothing_is_no_figure(tmp_path):
    with pytest.raises(SchemaError, match="no steps"):
        reliability_figure(tmp_path / "r.png", [], [], [])
    with pytest.raises(SchemaError, match="no curve"):
        risk_figure(tmp_path / "c.png", [])
