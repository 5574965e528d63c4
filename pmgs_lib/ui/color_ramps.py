"""Two colour maps that matplotlib has no perceptually uniform form of: shades from white, and changes round a zero.

Both are straight lines in OKLab, where equal steps look equal (Ottosson, "A perceptual color space for image
processing", 2020); the two halves of the second fall to the same lightness, so that neither sign looks stronger.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from matplotlib.colors import ListedColormap, to_rgb

STEPS = 129  # colours of a straight part, its ends included
LINEAR_FROM_CONES = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
CONES_FROM_OKLAB = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
WHITE = (1.0, 0.0, 0.0)  # lightness, green to red, blue to yellow
DARK_GREY = (0.25, 0.0, 0.0)
# Hues of the style's vermilion and blue, both at the lightness 0.5.
VERMILION, BLUE = (0.5, 0.114, 0.100), (0.5, -0.044, -0.115)


def ramp(name: str, *stops: tuple[float, float, float]) -> ListedColormap:
    """A colour map through OKLab colours (lightness in [0, 1], a, b) at equal distances."""
    parts = [np.linspace(first, second, STEPS)[place > 0 :]
             for place, (first, second) in enumerate(pairwise(stops))]  # fmt: skip
    return ListedColormap(_rgb(np.concatenate(parts)), name)


def _rgb(oklab: Float[np.ndarray, "color 3"]) -> Float[np.ndarray, "color 3"]:
    linear = (((oklab @ CONES_FROM_OKLAB.T) ** 3) @ LINEAR_FROM_CONES.T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).clip(0, 1)


def luminance(color: str | Sequence[float]) -> float:
    """Relative luminance in [0, 1] of a colour that matplotlib knows (WCAG 2.2)."""
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))


def ink_on(color: str | Sequence[float]) -> str:
    """Black or white, whichever contrasts more with a ground of this colour: at least 4.5 to 1 on any."""
    shade = luminance(color)
    return "black" if (shade + 0.05) ** 2 > 1.05 * 0.05 else "white"


SHADES = ramp("shades", WHITE, DARK_GREY)
CHANGES = ramp("changes", VERMILION, WHITE, BLUE)
