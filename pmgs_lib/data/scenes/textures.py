"""Textures of the embedded scenes: procedural ones and photos that ship inside scikit-image, in one mip-mapped atlas.

All photos are CC0 or in the public domain, as `skimage.data` documents them: camera (Lav Varshney), chelsea (Stefan van
der Walt), coffee (Rachel Michetti), astronaut (NASA), rocket (SpaceX), grass and gravel
(CC0 texture collections). They are read from the installed package, never downloaded.
"""

from collections.abc import Callable
from functools import cache
from importlib.resources import files

import numpy as np
from PIL import Image

from pmgs_lib.data.scenes.surface_kernels import LINEAR, TEXTURE_LEVELS, TEXTURE_SIZE
from pmgs_lib.data.scenes.texture_kernels import fill_cells, fill_noise
from pmgs_lib.errors import DataError

SIZE = TEXTURE_SIZE
Color = tuple[float, float, float]


def _noise(columns: int, rows: int, octaves: int, seed: int) -> np.ndarray:
    image = np.empty((SIZE, SIZE))
    fill_noise(image, columns, rows, octaves, seed)
    return image


def _cells(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    nearest, gap, identity = np.empty((3, SIZE, SIZE))
    fill_cells(nearest, gap, identity, count, seed)
    return nearest, gap, identity


def _ramp(value: np.ndarray, dark: Color, light: Color) -> np.ndarray:
    """sRGB colours (h w 3) between two, by a value in [0, 1]."""
    return np.asarray(dark) + np.clip(value, 0, 1)[..., None] * (np.asarray(light) - np.asarray(dark))


def _stretch(value: np.ndarray) -> np.ndarray:
    """Values spread to [0, 1] between their 1st and 99th percentiles."""
    low, high = np.percentile(value, (1, 99))
    return np.clip((value - low) / (high - low), 0, 1)


def _step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _tiles(columns: int, rows: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(distance to the nearest joint in units of the image, random number of the tile) of a bond of tiles.

    `shift`: offset of each second row in tiles, 0.5 for running bond.
    """
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    row = np.floor(y * rows)
    across = x * columns + shift * (row % 2)
    column = np.floor(across) % columns
    to_side = np.minimum(across % 1, 1 - across % 1) / columns
    to_bed = np.minimum((y * rows) % 1, 1 - (y * rows) % 1) / rows
    numbers = np.random.default_rng(seed).uniform(size=(rows, columns))
    return np.minimum(to_side, to_bed), numbers[row.astype(int), column.astype(int)]


def _masonry(columns: int, rows: int, joint: float, colors: tuple[Color, Color, Color], seed: int) -> np.ndarray:
    """Brick or stone in running bond: dark to light tiles with their own tones, joints of a third colour."""
    distance, tone = _tiles(columns, rows, 0.5, seed)
    grit, stain = _noise(64, 64, 3, seed), _noise(6, 6, 4, seed + 9)
    tile = _ramp(0.62 * tone + 0.55 * (_stretch(grit) - 0.5) + 0.35 * (_stretch(stain) - 0.5) + 0.2, *colors[:2])
    edge = _step(distance + 0.0022 * (grit - 0.5), joint * 0.6, joint)[..., None]
    mortar = np.asarray(colors[2]) * (0.8 + 0.4 * grit[..., None])
    return mortar + edge * (tile - mortar)


def _planks(columns: int, rows: int, dark: Color, light: Color, seed: int) -> np.ndarray:
    """Floor boards along u, each with its own tone and grain."""
    distance, tone = _tiles(columns, rows, 0.37, seed)
    shifted = np.take_along_axis(
        _noise(4, 96, 4, seed), ((np.arange(SIZE)[None] + (tone * SIZE).astype(int)) % SIZE), 1
    )
    fibre = 0.5 * _stretch(shifted) + 0.35 * _stretch(_noise(2, 24, 3, seed + 5))
    board = _ramp(0.55 * tone + 0.75 * fibre - 0.1, dark, light)
    return board * (0.45 + 0.55 * _step(distance, 0.0008, 0.0035))[..., None]


def _wood(dark: Color, light: Color, seed: int) -> np.ndarray:
    """Veneer with rings along u."""
    y = (np.mgrid[:SIZE, :SIZE][0] + 0.5) / SIZE
    bend = _noise(2, 5, 3, seed)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (7 * y + 2.6 * bend))
    return _ramp(0.5 * rings + 0.5 * _stretch(_noise(4, 128, 3, seed + 7)) + 0.25 * (bend - 0.5), dark, light)


def _plaster(dark: float, seed: int) -> np.ndarray:
    rough = 0.55 * _stretch(_noise(48, 48, 4, seed)) + 0.45 * _stretch(_noise(5, 5, 5, seed + 3))
    return _ramp(rough, (dark, dark, dark), (0.97, 0.97, 0.97))


def _wallpaper(seed: int) -> np.ndarray:
    """A trellis of leaves on a mottled ground."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    vine = np.abs(np.sin(2 * np.pi * (3 * x + 0.16 * np.sin(2 * np.pi * 3 * y))))
    leaf = np.sin(2 * np.pi * 6 * x + 1.6 * np.sin(2 * np.pi * 3 * y)) * np.sin(2 * np.pi * 6 * y)
    pattern = np.maximum(_step(-vine, -0.16, -0.05), _step(leaf, 0.35, 0.55))
    ground = _ramp(_stretch(_noise(24, 24, 4, seed)), (0.82, 0.82, 0.80), (0.93, 0.93, 0.92))
    return ground * (1 - 0.30 * pattern[..., None] * (0.6 + 0.8 * _noise(12, 12, 3, seed + 1)[..., None]))


def _fabric(seed: int) -> np.ndarray:
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    weave = 0.5 + 0.25 * np.sin(2 * np.pi * 64 * x) + 0.25 * np.sin(2 * np.pi * 64 * y)
    mottled = 0.35 * weave + 0.4 * _stretch(_noise(10, 10, 5, seed)) + 0.25 * _stretch(_noise(90, 90, 2, seed + 4))
    return _ramp(mottled, (0.58, 0.58, 0.58), (0.98, 0.98, 0.98))


def _rug(seed: int) -> np.ndarray:
    """A bordered carpet with a field of diamonds, for one fitted repeat."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    edge = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    diamond = np.abs((x * 8) % 1 - 0.5) + np.abs((y * 8) % 1 - 0.5)
    field = _ramp(_step(np.abs(diamond - 0.5), 0.1, 0.14), (0.66, 0.58, 0.46), (0.45, 0.24, 0.20))
    field = np.where((diamond < 0.18)[..., None], (0.24, 0.28, 0.36), field)
    band = np.where((np.sin(2 * np.pi * 24 * (x + y)) > 0)[..., None], (0.70, 0.63, 0.52), (0.26, 0.29, 0.37))
    carpet = np.where((edge < 0.10)[..., None], band, field)
    carpet = np.where((np.abs(edge - 0.11) < 0.012)[..., None], (0.78, 0.72, 0.62), carpet)
    return carpet * (0.62 + 0.5 * _stretch(_noise(96, 96, 2, seed))[..., None] * 0.9)


def _checker(seed: int) -> np.ndarray:
    distance, _ = _tiles(4, 4, 0.0, seed)
    y, x = np.mgrid[:SIZE, :SIZE] * 4 // SIZE
    vein = _stretch(1 - np.abs(_noise(6, 6, 5, seed) - 0.5) * 2)
    pale = _ramp(1 - 0.7 * vein**3, (0.62, 0.60, 0.57), (0.90, 0.88, 0.84))
    dark = _ramp(vein**4 + 0.3 * _noise(40, 40, 3, seed), (0.24, 0.25, 0.26), (0.50, 0.50, 0.50))
    tile = np.where(((x + y) % 2 == 0)[..., None], pale, dark)
    return tile * (0.55 + 0.45 * _step(distance, 0.001, 0.003))[..., None]


def _speckle(coarse: int, dark: Color, light: Color, seed: int) -> np.ndarray:
    """Asphalt, concrete, terrazzo: grains over stains."""
    nearest, _, identity = _cells(coarse, seed)
    grain = 0.45 * identity + 0.2 * (1 - nearest) + 0.45 * _stretch(_noise(5, 5, 5, seed + 2))
    return _ramp(grain, dark, light)


def _leaves(seed: int) -> np.ndarray:
    """Foliage: overlapping leaves, bright ones in front of dark gaps."""
    image = np.full((SIZE, SIZE, 3), (0.10, 0.15, 0.06))
    for layer, count in enumerate((22, 17, 14)):
        nearest, gap, identity = _cells(count, seed + 10 * layer)
        tone = 0.25 + 0.22 * layer + 0.45 * (identity - 0.5) - 0.3 * nearest
        shown = (identity > 0.35) & (gap > 0.10)
        image = np.where(shown[..., None], _ramp(tone, (0.16, 0.23, 0.09), (0.56, 0.64, 0.30)), image)
    return image * (0.75 + 0.45 * _noise(6, 6, 3, seed)[..., None])


def _bark(seed: int) -> np.ndarray:
    """Ridges along v."""
    ridges = np.abs(_stretch(_noise(20, 5, 4, seed)) - 0.5) * 2
    return _ramp(0.75 * ridges + 0.25 * _stretch(_noise(64, 64, 2, seed + 1)), (0.20, 0.16, 0.12), (0.56, 0.48, 0.40))


def _books(seed: int) -> np.ndarray:
    """Bands and lettering of a spine, along u."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    letters = (_noise(40, 10, 1, seed) > 0.55) & (np.abs(y % 0.5 - 0.25) < 0.09) & (x % 0.5 > 0.12) & (x % 0.5 < 0.36)
    bands = (np.abs(x % 0.5 - 0.05) < 0.012) | (np.abs(x % 0.5 - 0.43) < 0.02)
    cloth = _ramp(_stretch(_noise(60, 60, 3, seed + 2)), (0.62, 0.62, 0.62), (0.86, 0.86, 0.86))
    return np.where((letters | bands)[..., None], (0.98, 0.94, 0.80), cloth)


def _glass(seed: int) -> np.ndarray:
    """A window from outside, one fitted repeat: sky above, dim room and curtains below."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    room = _ramp(_stretch(_noise(3, 3, 4, seed)), (0.10, 0.12, 0.14), (0.34, 0.36, 0.38))
    folds = 0.5 + 0.5 * np.sin(2 * np.pi * (22 * x + 1.2 * _noise(3, 2, 2, seed + 1)))
    curtain = _ramp(0.3 + 0.6 * folds, (0.45, 0.43, 0.40), (0.74, 0.72, 0.67))
    drawn = np.abs(x - 0.5) > 0.26 + 0.14 * _noise(1, 4, 2, seed + 2)
    pane = np.where(drawn[..., None], curtain, room)
    reflection = _step(_noise(3, 2, 4, seed + 3) + 0.5 * (0.5 - y), 0.45, 0.75)[..., None]
    return pane + 0.45 * reflection * (np.array([0.66, 0.74, 0.82]) - pane)


def _panel(seed: int) -> np.ndarray:
    """A door or cupboard front with two recessed fields, one fitted repeat, painted white."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    inner_y = np.where(y < 0.55, np.minimum(y - 0.08, 0.52 - y), np.minimum(y - 0.60, 0.93 - y))
    inside = np.minimum(np.minimum(x - 0.16, 0.84 - x), inner_y)
    groove = 1 - 0.45 * np.exp(-((inside / 0.012) ** 2)) - 0.06 * (inside > 0)
    wear = 0.78 + 0.2 * _stretch(_noise(8, 64, 4, seed)) - 0.08 * _stretch(_noise(40, 40, 3, seed + 1))
    return np.repeat((groove * wear)[..., None], 3, axis=2)


def _painting(seed: int) -> np.ndarray:
    """A landscape in oil: hazy hills under a bright sky, one fitted repeat."""
    y = (np.mgrid[:SIZE, :SIZE][0] + 0.5) / SIZE
    canvas = _ramp(y * 1.4 + 0.5 * (_noise(4, 7, 5, seed) - 0.5), (0.52, 0.62, 0.70), (0.90, 0.82, 0.66))
    for layer in range(5):
        depth = layer / 4
        ridge = 0.42 + 0.12 * layer + 0.22 * (_noise(2 + layer, 1, 4, seed + layer)[SIZE // 2] - 0.5)[None]
        stroke = _stretch(_noise(24, 60, 3, seed + 20 + layer))
        dark = (0.46 - 0.30 * depth, 0.50 - 0.26 * depth, 0.50 - 0.38 * depth)
        light = (0.66 - 0.12 * depth, 0.68 - 0.10 * depth, 0.62 - 0.32 * depth)
        canvas = np.where((y > ridge)[..., None], _ramp(stroke, dark, light), canvas)
    return canvas * (0.85 + 0.3 * _noise(80, 80, 2, seed + 40)[..., None])


def _photo(name: str) -> np.ndarray:
    source = files("skimage") / "data" / name
    if not source.is_file():
        raise DataError(
            f"photo {name} of the embedded scenes is missing from the installed scikit-image (expected {source}): "
            "install scikit-image 0.25 or 0.26 from its ordinary wheel"
        )
    with source.open("rb") as stream, Image.open(stream) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)) / 255.0


def _tiling_photo(name: str, dark: Color, light: Color) -> np.ndarray:
    """A grey photo of a material, coloured, its edges blended into the opposite ones."""
    gray = _photo(name).mean(axis=2)
    for axis in (0, 1):
        distance = np.abs(np.arange(SIZE) - SIZE / 2 + 0.5) / SIZE  # 0.5 at the edges
        weight = _step(distance, 0.34, 0.5).reshape((-1, 1) if axis == 0 else (1, -1))
        other = np.roll(gray, SIZE // 2, axis)
        gray = (gray * (1 - weight) + other * weight - 0.45) / np.sqrt((1 - weight) ** 2 + weight**2) + 0.45
    return _ramp(_stretch(gray), dark, light)


_RECIPES: dict[str, Callable[[], np.ndarray]] = {
    "camera": lambda: _photo("camera.png"),
    "chelsea": lambda: _photo("chelsea.png"),
    "coffee": lambda: _photo("coffee.png"),
    "astronaut": lambda: _photo("astronaut.png"),
    "rocket": lambda: _photo("rocket.jpg"),
    "painting": lambda: _painting(91),
    "grass": lambda: _tiling_photo("grass.png", (0.13, 0.17, 0.06), (0.58, 0.64, 0.34)),
    "gravel": lambda: _tiling_photo("gravel.png", (0.20, 0.19, 0.17), (0.78, 0.75, 0.70)),
    "brick_red": lambda: _masonry(5, 16, 0.0055, ((0.38, 0.19, 0.14), (0.68, 0.42, 0.31), (0.70, 0.66, 0.60)), 11),
    "brick_buff": lambda: _masonry(5, 16, 0.005, ((0.52, 0.42, 0.30), (0.80, 0.70, 0.54), (0.60, 0.57, 0.52)), 12),
    "stone": lambda: _masonry(3, 6, 0.006, ((0.50, 0.47, 0.42), (0.80, 0.76, 0.68), (0.42, 0.40, 0.37)), 13),
    "paving": lambda: _masonry(3, 4, 0.0045, ((0.46, 0.45, 0.43), (0.72, 0.70, 0.67), (0.30, 0.29, 0.27)), 14),
    "oak_floor": lambda: _planks(2, 9, (0.38, 0.26, 0.16), (0.74, 0.57, 0.39), 21),
    "gray_floor": lambda: _planks(2, 8, (0.33, 0.29, 0.25), (0.66, 0.60, 0.53), 22),
    "boards": lambda: _planks(1, 6, (0.55, 0.53, 0.50), (0.88, 0.86, 0.83), 23),
    "checker": lambda: _checker(24),
    "oak": lambda: _wood((0.44, 0.30, 0.18), (0.73, 0.56, 0.37), 31),
    "walnut": lambda: _wood((0.19, 0.12, 0.08), (0.47, 0.32, 0.21), 32),
    "pale_wood": lambda: _wood((0.62, 0.51, 0.38), (0.86, 0.77, 0.63), 33),
    "plaster": lambda: _plaster(0.72, 41),
    "rough_plaster": lambda: _plaster(0.56, 42),
    "wallpaper": lambda: _wallpaper(43),
    "fabric": lambda: _fabric(44),
    "rug": lambda: _rug(45),
    "asphalt": lambda: _speckle(90, (0.20, 0.20, 0.21), (0.50, 0.49, 0.48), 46),
    "concrete": lambda: _speckle(60, (0.48, 0.47, 0.45), (0.78, 0.76, 0.73), 47),
    "metal": lambda: _speckle(40, (0.55, 0.55, 0.55), (0.92, 0.92, 0.92), 48),
    "leaves": lambda: _leaves(51),
    "bark": lambda: _bark(52),
    "books": lambda: _books(53),
    "glass_a": lambda: _glass(61),
    "glass_b": lambda: _glass(71),
    "panel": lambda: _panel(81),
}
TEXTURES = tuple(_RECIPES)
PHOTOS = ("camera", "chelsea", "coffee", "astronaut", "rocket", "painting")


def texture_atlas(names: tuple[str, ...]) -> np.ndarray:
    """The named textures with all mip levels as sRGB bytes (texture texel 3)."""
    return np.stack([_texture(name) for name in names])


@cache
def _texture(name: str) -> np.ndarray:
    return _mip_levels(_RECIPES[name]())


def _mip_levels(image: np.ndarray) -> np.ndarray:
    """Texels of all levels (texel 3); averaging is done on linear light."""
    levels = [np.clip(image, 0, 1)]
    light = LINEAR[np.round(levels[0] * 255).astype(int)]
    for _ in range(TEXTURE_LEVELS - 1):
        light = light.reshape(light.shape[0] // 2, 2, light.shape[1] // 2, 2, 3).mean(axis=(1, 3))
        levels.append(display_values(light))
    return np.concatenate([np.round(level * 255).astype(np.uint8).reshape(-1, 3) for level in levels])


def display_values(light: np.ndarray) -> np.ndarray:
    """sRGB values (IEC 61966-2-1) of linear light, both in [0, 1]."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
