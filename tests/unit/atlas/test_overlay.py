"""The overlay: colours that say what the map says, and a picture that is drawn in any shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from placevec.atlas.overlay import OPAQUE, Mark, heat_ramp, heat_rgba, opacity, overlay_figure, scale
from placevec.errors import SchemaError

pytest.importorskip("matplotlib")


def image(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as drawn:
        return int(drawn.size[0]), int(drawn.size[1])


def test_the_ramp_grows_lighter_evenly() -> None:
    table = heat_ramp().astype(float) / 255
    linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    steps = np.diff(lightness[::16])
    assert (steps > 0).all()
    assert steps.max() < 2.5 * steps.min()


def test_heat_is_clear_at_the_background_and_never_hides_the_image() -> None:
    values = np.array([[-2.0, 0.0], [1.5, 3.0]])
    shown = heat_rgba(values, (0.0, 3.0), (2, 2), smooth=False)
    assert shown.shape == (2, 2, 4)
    assert shown[0, :, 3].tolist() == [0, 0]
    assert 0 < shown[1, 0, 3] < shown[1, 1, 3] == round(255 * OPAQUE)
    assert (shown[1, 1, :3] == heat_ramp()[-1]).all()
    assert (np.diff(opacity(np.linspace(0, 1, 50))) > 0).all()


def test_cells_stay_flat_and_other_maps_are_smooth() -> None:
    values = np.array([[0.0, 3.0]])
    flat, smooth = (heat_rgba(values, (0.0, 3.0), (4, 8), smooth=kind)[0, :, 3] for kind in (False, True))
    assert len(set(flat.tolist())) == 2
    assert len(set(smooth.tolist())) > 3


def test_the_scale_is_absolute_and_begins_where_the_image_stands_out() -> None:
    assert scale(np.array([[-1.0, 0.0, 0.5]])) == (0.0, 3.0)  # weak evidence looks weak
    assert scale(np.array([[-1.0, 0.0, 5.0]])) == (0.0, 5.0)
    assert scale(np.full((3, 3), 4.0)) == (4.0, 4.75)  # all of it fits: no part stands out


@pytest.mark.parametrize("shape", [(48, 64), (20, 200), (200, 20), (1, 1)])
def test_it_is_drawn_for_images_of_any_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    height, width = shape
    marks = [Mark(0, 0, width, height, 2.5, 1.0), Mark(0, 0, max(width // 2, 1), max(height // 2, 1), -0.5, 0.25)]
    values = np.random.default_rng(1).standard_normal((5, 7))
    path = overlay_figure(
        tmp_path / "o.png", image(*shape), values, marks, query="“$a_b$ < boats”", subtitle="x", facts=["one", "two"]
    )
    wide, tall = size(path)
    assert wide > 900
    assert 400 < tall < 2400


def test_the_same_bytes_each_time_with_a_second_image_and_without_boxes(tmp_path: Path) -> None:
    values = np.zeros((3, 3))
    for name in ("a.png", "b.png"):
        overlay_figure(tmp_path / name, image(), values, [], query="like x", like=image(30, 20), smooth=False)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="give"):
        overlay_figure(tmp_path / "o.png", image()[..., 0], np.zeros((2, 2)), [], query="x")
    with pytest.raises(SchemaError, match="give"):
        overlay_figure(tmp_path / "o.png", image(), np.zeros(4), [], query="x")
    assert not (tmp_path / "o.png").exists()
