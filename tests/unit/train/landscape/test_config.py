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
        ({"own": 1.5}, "own = 1.5: give a share from 0 to 1"),
        ({"own": -0.1}, "own = -0.1"),
        ({"infill": -1.0}, "infill = -1.0"),
        ({"contrast": -0.5}, "contrast = -0.5: give 0 or more"),
        ({"describe": -2.0}, "describe = -2.0"),
        ({"contrast": 0.0, "infill": 0.0, "describe": 0.0}, "all 0: nothing would be learned"),
        ({"contrast": 0.0, "describe": 0.0, "hide": 0.0}, "infill alone learns from what is hidden"),
        ({"statistics": False}, "describe needs statistics: set describe = 0"),
        ({"far_m": -5.0}, "far_m = -5.0: give metres"),
    ],
)
def test_settings_that_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LandscapeTraining(**wrong)


@pytest.mark.parametrize(
    "fine",
    [
        {"own": 0.0},
        {"own": 1.0},
        {"contrast": 1.0, "infill": 0.0, "describe": 0.0, "hide": 0.0},
        {"contrast": 0.0, "infill": 0.0},
        {"contrast": 0.0, "describe": 0.0},
        {"statistics": False, "describe": 0.0},
    ],
)
def test_parts_may_be_left_out(fine: dict[str, Any]) -> None:
    assert LandscapeTraining.from_json(LandscapeTraining(**fine).to_json()) == LandscapeTraining(**fine)


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
