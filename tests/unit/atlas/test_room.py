"""Figures take as much room as they need: legends are measured, and few scores are cut off a chart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from placevec.atlas import ink, legend_ink
from placevec.atlas.charts import _limits
from placevec.atlas.figures import map_figure
from placevec.atlas.frames import frame_around
from placevec.atlas.legends import ClassLegend, RampLegend
from placevec.atlas.palettes import VIRIDIS, categorical
from placevec.atlas.scores import ScoreRow


def ramp(left_out: str = "") -> RampLegend:
    return RampLegend(title="Error", units="km", low=1.0, high=100.0, table=VIRIDIS, scale="log", left_out=left_out)


def test_a_legend_is_as_high_as_it_is_drawn() -> None:
    for width in (1.5, 2.15, 4.0):
        pen = ink.sheet(width)
        legend_ink.draw(pen, ramp())
        assert legend_ink.height(ramp(), width) == pen.y
    assert legend_ink.height(ramp("left out: " + "much " * 20), 1.5) > legend_ink.height(ramp(), 1.5)


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_a_map_has_no_empty_foot(tmp_path: Path, layout: ink.Layout) -> None:
    frame = frame_around(np.array([0.0, 4.0]), np.array([40.0, 42.0]), width=200)
    raster = np.full((frame.height, frame.width, 4), 200, dtype=np.uint8)
    path = map_figure(tmp_path / "m.png", raster, frame, title="Errors", legend=ramp(), note="a note", layout=layout)
    drawn = np.asarray(Image.open(path).convert("L"))
    last = int(np.flatnonzero((drawn < 250).any(axis=1))[-1])
    # Less than half an inch of paper below the last line.
    assert 0.1 * ink.DPI < drawn.shape[0] - last < 0.5 * ink.DPI


def test_a_long_legend_is_not_cut(tmp_path: Path) -> None:
    frame = frame_around(np.array([0.0, 4.0]), np.array([40.0, 41.0]), width=200)
    raster = np.full((frame.height, frame.width, 4), 200, dtype=np.uint8)
    colours = categorical(np.arange(40) % 20)
    names = tuple(f"class {number}" for number in range(40))
    legend = ClassLegend(title="Classes", names=names, sizes=(1,) * 40, colours=colours, noun="places")
    path = map_figure(tmp_path / "m.png", raster, frame, title="Land", legend=legend)
    with Image.open(path) as image:
        assert image.height / ink.DPI > legend_ink.height(legend, 2.15)


def rows(*means: float, metric: str = "median error, km") -> list[ScoreRow]:
    return [
        ScoreRow(f"m{number}", "block", mean, mean - 1, mean + 1, metric=metric, better="lower")
        for number, mean in enumerate(means)
    ]


def test_what_lies_just_beyond_is_shown_and_what_lies_far_beyond_is_cut() -> None:
    near = _limits(rows(68, 69, 71, 72, 76, 77, 77, 78, 103, 113, 117), higher_is_better=False)
    assert near[1] > 117
    far = _limits(rows(68, 69, 71, 72, 76, 77, 77, 78, 900), higher_is_better=False)
    assert 78 < far[1] < 300
