"""Picture files as arrays of one size: turned upright, converted, cropped or padded, decoded by several threads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bigtrain.config.errors import DataError
from bigtrain.data.checks import check_memory
from bigtrain.data.decoded import Decoded, Unreadable, whole
from bigtrain.data.folders import Labels, find
from bigtrain.data.spec import Field, Reader

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow's others are rare, or start other programs
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MOST_PIXELS = 89_478_485  # Pillow's own bound: a small file may claim to be a picture that fills the memory
MOST_SIDE = 16_384
GREY = ("1", "L", "LA", "La")
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, ZeroDivisionError, OverflowError)
Fit = Literal["crop", "stretch", "pad"]


@dataclass(frozen=True)
class Frame:
    """What every picture is made into: uint8 [height, width], or [height, width, 3] in colour."""

    height: int
    width: int
    channels: int
    fit: Fit = "crop"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one picture."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)

    @property
    def dtype(self) -> np.dtype:
        """Bytes."""
        return np.dtype(np.uint8)

    def decode(self, source: Path) -> np.ndarray:
        """See `decode`."""
        return decode(source, self)

    @property
    def field(self) -> Field:
        """Bytes, scaled to 0 to 1."""
        return Field(self.shape, "uint8", "features", scale=1 / 255, low=0.0, high=1.0)

    @property
    def reader(self) -> Reader:
        """How a user's picture becomes an input of the trained model."""
        return Reader("image", asdict(self))

    @classmethod
    def of(cls, where: object, settings: Mapping[str, Any], shape: tuple[int, ...]) -> Frame:
        """The frame that a model's spec describes; it may come from a stranger."""
        try:
            made = cls(**settings)
            sound = made.fit in ("crop", "stretch", "pad") and made.channels in (1, 3) and made.shape == shape
            sound = sound and all(type(side) is int and 0 < side <= MOST_SIDE for side in shape)
        except (TypeError, AttributeError):
            sound = False
        if not sound:
            raise DataError(
                where, f"the model's picture reader has settings that make no sense: {dict(settings)}"[:200]
            )
        return made


@dataclass(frozen=True)
class Header:
    """What a picture's first bytes say: its size once upright, and whether it has colour."""

    height: int
    width: int
    colour: bool


def header(source: Path | bytes) -> Header:
    """Size and colour of a picture, without decoding it."""
    with _opened(source) as image:
        width, height = image.size
        if "exif" in image.info and image.getexif().get(0x0112) in TURNED:  # asked of a PNG, it decodes the picture
            width, height = height, width
        colour = image.mode not in GREY
        if image.mode == "P" and (palette := image.getpalette()):
            colour = bool(np.ptp(np.array(palette, np.int64).reshape(-1, 3), axis=1).any())
        return Header(height, width, colour)


def decode(source: Path | bytes, frame: Frame) -> np.ndarray:
    """One picture: upright by its EXIF entry, transparent parts white, the first of several frames.

    Raises:
        Unreadable: for anything that isn't a whole picture of 8 bits a channel.
    """
    with _opened(source) as image:
        most = 2 * max(frame.height, frame.width)
        image.draft("L" if frame.channels == 1 else "RGB", (most, most))  # a JPEG is read at a half, a quarter …
        image.load()
        upright = _flat(ImageOps.exif_transpose(image), "L" if frame.channels == 1 else "RGB")
        size = (frame.width, frame.height)
        if upright.size != size:
            if frame.fit == "crop":
                upright = ImageOps.fit(upright, size, Image.Resampling.BILINEAR)
            elif frame.fit == "pad":
                upright = ImageOps.pad(upright, size, Image.Resampling.BILINEAR, color=0)
            else:
                upright = upright.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(upright)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    """An open picture of the allowed formats and size; every way to fail becomes `Unreadable`."""
    _quiet()
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise Unreadable(f"has {width:,} x {height:,} pixels, and at most {MOST_PIXELS:,} are decoded")
            if image.mode.startswith(("I", "F")):
                raise Unreadable(f"its pixels have more than 8 bits (mode {image.mode}); save it with 8")
            yield image
    except Unreadable:
        raise
    except UnidentifiedImageError as error:
        raise Unreadable("is no picture, or a damaged one") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(f"has more pixels than are decoded, {MOST_PIXELS:,}") from error
    except FileNotFoundError as error:
        raise Unreadable("the file is gone") from error
    except (*DAMAGE, MemoryError, Warning) as error:
        raise Unreadable(f"can't be decoded: {' '.join(str(error).split())[:100]}") from error


@cache
def _quiet() -> None:
    """Pillow's warning of too large a picture is followed by our own refusal."""
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """The picture in grey or colour, laid on white where it is transparent."""
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        colours = image.convert("RGBA")
        image = Image.new("RGBA", colours.size, "white")
        image.alpha_composite(colours)
    return image if image.mode == mode else image.convert(mode)


def read_pictures(path: Path, reader: Reader, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A picture, or all pictures of a folder, as inputs of a model: {'inputs': [N, *shape]}."""
    frame = Frame.of("spec.json", reader.settings, shape)
    names = picture_names(path) if path.is_dir() else (path.name,)
    root = path if path.is_dir() else path.parent
    check_memory(path, len(names) * frame.field.nbytes, "predict a part of them at a time")
    return {"inputs": whole(Decoded(root, names, frame, "images"))}


def picture_names(folder: Path) -> tuple[str, ...]:
    """The pictures in a folder and below it, sorted: the order in which they are predicted."""
    return find(folder, "images", SUFFIXES, Labels("none")).paths
