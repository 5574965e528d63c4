"""From a folder of photographs or a video to upright pictures of one size, with a reason for each that is not used."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from pmgs_lib.data.chunks import decode_image, encode_jpeg
from pmgs_lib.data.photos.base import PhotoOptions, PhotoSet
from pmgs_lib.data.photos.naming import PICTURES, UNREAD, natural_order
from pmgs_lib.data.photos.video import sharp_frames
from pmgs_lib.data.picture_quality import blurred_frames, duplicate_frames, sharpness, thumbnail
from pmgs_lib.errors import DataError

LEAST_PHOTOS = 3
SAME_ASPECT = 0.01  # relative: sizes that differ by rounding are one photograph at two resolutions
JPEG_QUALITY = 97  # of what is written on the way; the importer may encode once more


@dataclass(frozen=True)
class _Candidate:
    """What is kept in memory of a picture that can be read."""

    size: tuple[int, int]
    sharpness: float
    thumbnail: Tensor


def prepare_photos(source: Path, folder: Path, options: PhotoOptions) -> PhotoSet:
    """Write the photographs of `source` (a folder or a video) that can be used to `folder`, upright and of one size.

    Pictures are read one at a time. The most common shape is kept: the same shape at other resolutions is brought to
    the smallest of them. Raises DataError when fewer than three are left, naming what was left out and why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_video = source.is_file()
    left_out: dict[str, str] = {}
    candidates: dict[str, _Candidate] = {}
    pictures = sharp_frames(source, options.video_frames) if is_video else _photographs(source, left_out)
    for name, image in pictures:
        image = _reduced(image, options.longer_side)
        candidates[name] = _Candidate((image.shape[0], image.shape[1]), sharpness(image), thumbnail(image))
        (folder / name).write_bytes(encode_jpeg(image, JPEG_QUALITY))
    listed = len(candidates) + len(left_out)
    left_out |= _unfit(candidates, options)
    names = tuple(name for name in candidates if name not in left_out)
    if len(names) < LEAST_PHOTOS:
        told = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3]) or "none was left out"
        raise DataError(
            f"photographs {source}: {len(names)} of {listed} can be used, at least {LEAST_PHOTOS} are needed ({told}); "
            f"expected {', '.join(PICTURES)} files, or a video, of one scene from several places"
        )
    height, width = min(candidates[name].size for name in names)
    for name in names:
        if candidates[name].size != (height, width):
            _resize_file(folder / name, height, width)
    return PhotoSet(folder, names, listed, left_out, height, width, ordered=is_video)


def _photographs(source: Path, left_out: dict[str, str]) -> Iterator[tuple[str, UInt8[Tensor, "height width 3"]]]:
    """Upright pictures of a folder under the names they will have; what cannot be read goes to `left_out`."""
    taken: set[str] = set()
    for path in sorted(source.iterdir(), key=lambda path: natural_order(path.name)):
        suffix = path.suffix.lower()
        if not path.is_file() or path.name.startswith(".") or suffix not in (*PICTURES, *UNREAD):
            continue
        if suffix in UNREAD:
            left_out[path.name] = f"{suffix[1:].upper()} pictures are not read: convert them to JPEG"
            continue
        name = f"{path.stem}.jpg" if f"{path.stem}.jpg" not in taken else f"{path.name}.jpg"
        try:
            image = _upright(path)
        except DataError as fault:
            left_out[path.name] = f"cannot be read: {fault}"
            continue
        taken.add(name)
        yield name, image


def _upright(path: Path) -> UInt8[Tensor, "height width 3"]:
    """The picture as a person holds it: EXIF says how the camera was turned."""
    try:
        with Image.open(path) as picture:
            turned = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path.name} is damaged or no picture ({error}); replace the file") from error
    return torch.frombuffer(bytearray(turned.tobytes()), dtype=torch.uint8).reshape(turned.height, turned.width, 3)


def _reduced(image: UInt8[Tensor, "height width 3"], longer_side: int) -> UInt8[Tensor, "rows columns 3"]:
    height, width = image.shape[:2]
    factor = longer_side / max(height, width)
    return image if factor >= 1 else _resized(image, max(1, round(height * factor)), max(1, round(width * factor)))


def _resized(image: UInt8[Tensor, "height width 3"], height: int, width: int) -> UInt8[Tensor, "rows columns 3"]:
    picture = Image.fromarray(image.numpy()).resize((width, height), Image.Resampling.LANCZOS)
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(height, width, 3)


def _resize_file(path: Path, height: int, width: int) -> None:
    image = decode_image(path.read_bytes(), f"photograph {path.name}")
    path.write_bytes(encode_jpeg(_resized(image, height, width), JPEG_QUALITY))


def _unfit(candidates: Mapping[str, _Candidate], options: PhotoOptions) -> dict[str, str]:
    """Readable pictures that are not used: another shape, blurred, or there twice."""
    if not candidates:
        return {}
    shapes = Counter(candidate.size for candidate in candidates.values())
    most = max(shapes, key=lambda size: (sum(shapes[other] for other in shapes if _same_shape(size, other)), size))
    fit, left_out = {}, {}
    for name, candidate in candidates.items():
        if _same_shape(candidate.size, most):
            fit[name] = candidate
        else:
            height, width = candidate.size
            left_out[name] = f"another shape: {height}x{width} (height x width), most are {most[0]}x{most[1]}"
    return left_out | _poor(fit, options)


def _poor(fit: Mapping[str, _Candidate], options: PhotoOptions) -> dict[str, str]:
    names, poor = list(fit), {}
    if options.leave_out_blurred:
        for frame in blurred_frames([candidate.sharpness for candidate in fit.values()]):
            poor[names[frame]] = "blurred: far less detail than in the photographs beside it"
    if options.leave_out_duplicates and names:
        for frame, like in duplicate_frames(torch.stack([c.thumbnail for c in fit.values()])).items():
            poor.setdefault(names[frame], f"a duplicate: shows what {names[like]} shows")
    return poor


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) < SAME_ASPECT
