"""Encoded pictures (JPEG, PNG): to bytes and back, with a header that is read before anything is allocated."""

import io

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pmgs_lib.errors import DataError

# A header can claim 10^9 pixels in a hundred bytes. The largest that cameras in the field give today are 48 million
# (telephones at full resolution); decoding as many takes 450 MB beside their file.
MOST_PIXELS = 50_000_000


def encode_jpeg(
    image: UInt8[Tensor, "height width 3"] | UInt8[np.ndarray, "height width 3"], quality: int = 95
) -> bytes:
    """JPEG bytes of an RGB picture, without chroma subsampling: at small sizes that blurs more than `quality` does."""
    pixels = image.numpy() if isinstance(image, Tensor) else image
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def decode_image(encoded: bytes, where: str = "picture") -> UInt8[Tensor, "height width 3"]:
    """RGB pixels of an encoded picture (JPEG, PNG or whatever Pillow reads). `where` names it in the error.

    Raises DataError for what is no picture, is damaged, or has more than MOST_PIXELS by its header, read first.
    """
    with _opened(encoded, where) as picture:
        try:
            # convert() would make one more copy of a picture that is RGB already
            return torch.from_numpy(np.array(picture if picture.mode == "RGB" else picture.convert("RGB")))
        except (OSError, ValueError, SyntaxError, IndexError, EOFError, OverflowError, MemoryError) as error:
            raise DataError(f"{where}: the picture is damaged ({error}); replace the file it came from") from error


def encoded_size(encoded: bytes, where: str = "picture") -> tuple[int, int]:
    """Height and width from the header of an encoded picture."""
    size = jpeg_size(encoded)
    if size is not None:
        return size
    with _opened(encoded, where) as picture:
        return picture.height, picture.width


def jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG from its first bytes; None where they do not tell, or tell of too many pixels.

    Then Pillow, 50 times slower, has its say. Segments before the frame header (SOF0 to SOF15 but for the three numbers
    that are other segments) are passed over by their lengths: ITU-T T.81, annex B.
    """
    if not encoded.startswith(b"\xff\xd8"):
        return None
    place = 2
    while place + 9 <= len(encoded) and encoded[place] == 0xFF:
        marker, length = encoded[place + 1], int.from_bytes(encoded[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = encoded[place + 5 : place + 7], encoded[place + 7 : place + 9]
            size = int.from_bytes(height, "big"), int.from_bytes(width, "big")
            return size if 0 < size[0] * size[1] <= MOST_PIXELS else None
        if marker < 0xC0 or marker in (0xD8, 0xD9, 0xDA) or length < 2:
            return None
        place += 2 + length
    return None


def _opened(encoded: bytes, where: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(encoded))
        height, width = picture.height, picture.width
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(where, str(error).split(" pixels")[0].rpartition("(")[2]) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, IndexError, EOFError, OverflowError, MemoryError):
        raise DataError(f"{where}: {len(encoded)} bytes that are no picture; expected JPEG or PNG bytes") from None
    if height * width > MOST_PIXELS:
        picture.close()
        raise _too_large(where, f"{height}x{width} = {height * width}")
    return picture


def _too_large(where: str, claimed: str) -> DataError:
    return DataError(
        f"{where}: the picture claims {claimed} pixels, {MOST_PIXELS} are allowed; replace it or make it smaller"
    )
