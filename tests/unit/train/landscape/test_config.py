"""Settings of landscape training."""

from __future__ import annotations

import json
from typing import Any

import pytest

from placevec.errors import UsageError
from placevec.train.landscape import LandscapeTraining


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"loss": "contrastive"}, "loss = 'contrastive': give infonce or triplet"),
        ({"start": "zero"}, "start = 'zero': give closed-form or random"),
        ({"temperature": 0.0}, "temperature = 0.0: give a number above 0"),
        ({"margin": -0.1}, "margin = -0.1"),
        ({"shrink": 0.0}, "shrink = 0.0"),
        ({"hide": 1.5}, "hide = 1.5"),
        ({"infill": -1.0}, "infill = -1.0"),
        ({"far_m": -5.0}, "far_m = -5.0: give metres"),
    ],
)
def test_settings_that_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LandscapeTraining(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"), [({"los": "x"}, "los"), ({"loop": {"epoch": 1}}, "epoch"), ({"dims": "many"}, "dims")]
)
def test_json_that_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LandscapeTraining.from_json(wrong)


def test_its_json_keeps_it() -> None:
    config = LandscapeTraining(layers=("cover",), loss="triplet", far_m=500.0, widths=(4, 8), infill=0.5)
    assert LandscapeTraining.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert LandscapeTraining.from_json(LandscapeTraining().to_json()) == LandscapeTraining()
