"""Random fields with a wanted roughness, and random streams that do not disturb each other."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Field = NDArray[np.float32]


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of one part of the world: adding a part changes no other."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def fractal(rng: np.random.Generator, shape: tuple[int, int], wavelength: float, beta: float = 3.0) -> Field:
    """A field of mean 0 and standard deviation 1.

    Args:
        rng: the random stream.
        shape: (rows, columns).
        wavelength: the longest wave in pixels.
        beta: slope of the power spectrum: 2 rough, 3 like terrain, 4 smooth.
    """
    rows, cols = shape
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(cols)[None]
    f = np.hypot(fy, fx)
    low = 1.0 / wavelength
    amplitude = np.maximum(f, low) ** (-beta / 2) * np.minimum(f / low, 1.0) ** 2
    amplitude /= amplitude.max()
    # scipy's transform keeps float32, numpy's of old does not.
    white = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    field = fft.irfft2(white * amplitude.astype(np.float32), s=shape)
    out: Field = ((field - field.mean()) / field.std()).astype(np.float32)
    return out


def rank01(field: NDArray[Any]) -> Field:
    """The field with its values replaced by about uniform ones from 0 to 1 (by the normal distribution function)."""
    from scipy.special import ndtr

    out: Field = ndtr(field.astype(np.float32))
    return out


def smoothstep(x: NDArray[Any], low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)
