"""Colour tables that people with any colour vision can read, as plain numpy arrays.

- `VIRIDIS`, `CIVIDIS`: (256, 3) uint8, for values with a low and a high end; lightness rises evenly. Sampled at 17
  places from the tables of van der Walt & Smith (2015) and Nunez, Anderton & Renslow (2018), linear between.
- `DIVERGING`: (256, 3) uint8, blue over a warm near-white to brown, for values with a meaningful zero. Blue against
  orange-brown survives red-green and blue-yellow deficiency; lightness falls evenly to both sides.
- `CATEGORICAL`: (20, 3) uint8. The first seven are the set of Okabe & Ito (2008) without black; the others were chosen
  one by one, each the colour of chroma < 58 that is farthest (CIE76 in CIELAB) from those before it, from white
  and from pale grey, the smallest distance counted over normal vision and the simulations of
  protanopia, deuteranopia and tritanopia of Machado, Oliveira & Fernandes (2009). Any two of the twenty stay at
  least 12 apart in all four (a just noticeable difference is about 2.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import UsageError


def _hex(colours: str) -> NDArray[np.uint8]:
    return np.array([list(bytes.fromhex(colour)) for colour in colours.split()], dtype=np.uint8)


def _ramp(anchors: str) -> NDArray[np.uint8]:
    fixed = _hex(anchors).astype(np.float64)
    at = np.linspace(0, len(fixed) - 1, 256)
    channels = [np.interp(at, np.arange(len(fixed)), fixed[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


VIRIDIS = _ramp(
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1f9f88 27ad81 3dbc74 5cc863 81d34d aadc32 "
    "d5e21a fde725"
)
CIVIDIS = _ramp(
    "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8b8778 9a9376 aaa073 bbad6d ccba64 ddc858 "
    "efd748 fee838"
)
DIVERGING = _ramp("0d2f5e 1f4f8f 3f78b5 78a5d0 b3cde3 f4f1ec ecc79c d99a5b b8702c 8a4c14 573008")
CATEGORICAL = _hex(
    "0072b2 e69f00 009e73 d55e00 cc79a7 56b4e9 f0e442 343440 7c2810 94dc7c 4c1c70 70e8ac 644c40 b85834 884c7c "
    "70ac64 7094f4 b8c4dc aca040 104ca0"
)
_XYZ_TO_RGB = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)
MISSING = np.array([214, 214, 214], dtype=np.uint8)  # a place without a value: grey, on no other scale
LEFT_OUT = np.array([207, 211, 217], dtype=np.uint8)  # a place whose value is not among those shown


def from_lab(lab: ArrayLike) -> NDArray[np.uint8]:
    """Colours (n, 3) uint8 of CIELAB values (n, 3), D65; what sRGB cannot show is clipped (IEC 61966-2-1)."""
    light, red, yellow = np.moveaxis(np.asarray(lab, dtype=np.float64), -1, 0)
    middle = (light + 16) / 116
    f = np.stack([middle + red / 500, middle, middle - yellow / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    linear = np.clip(xyz @ _XYZ_TO_RGB.T, 0, 1)
    share = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: NDArray[np.uint8] = np.rint(share * 255).astype(np.uint8)
    return colours


def sequential(values: ArrayLike, low: float, high: float, table: NDArray[np.uint8] = VIRIDIS) -> NDArray[np.uint8]:
    """Colours (n, 3) of `values` between `low` and `high`; what lies beyond takes the end's colour, NaN is grey."""
    number = np.asarray(values, dtype=np.float64)
    missing = np.isnan(number)
    span = high - low
    share = np.clip((np.where(missing, low, number) - low) / span, 0, 1) if span > 0 else np.full(number.shape, 0.5)
    colours: NDArray[np.uint8] = table[np.rint(share * (len(table) - 1)).astype(np.int64)]
    colours[missing] = MISSING
    return colours


def categorical(codes: ArrayLike) -> NDArray[np.uint8]:
    """Colours (n, 3) of class numbers 0, 1, ... 19; negative numbers (no class) are grey.

    Raises UsageError beyond twenty classes: more colours than that cannot be told apart.
    """
    number = np.asarray(codes, dtype=np.int64)
    if number.size and number.max() >= len(CATEGORICAL):
        raise UsageError(
            f"class number {int(number.max())}: only {len(CATEGORICAL)} classes can be told apart by colour; merge some"
        )
    colours: NDArray[np.uint8] = CATEGORICAL[np.maximum(number, 0)]
    colours[number < 0] = MISSING
    return colours
