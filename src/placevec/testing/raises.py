"""What the suites expect to be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from placevec.errors import PlacevecError


def raises(error: type[PlacevecError], act: Callable[[], Any], what: str) -> None:
    """Raise AssertionError unless `act` raises `error`; `what` is the thing that must be refused."""
    try:
        act()
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{what}: {type(other).__name__} was raised, {error.__name__} was expected") from other
    raise AssertionError(f"{what} was accepted; {error.__name__} was expected")
