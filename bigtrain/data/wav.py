"""WAV files: PCM of 8, 16, 24 and 32 bits and floating point, any rate, mono or not.

The standard library's `wave` reads neither floating point nor, before Python 3.12, the extensible header that 24-bit
recorders write; the format is small enough to read here (IBM & Microsoft 1991, "Multimedia Programming Interface").
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigtrain.data.decoded import Unreadable

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
OTHERS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 85: "MP3"}
CONVERT = "convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"
UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # what a program writes that sends a WAV into a pipe
LONGEST_FORMAT = 1 << 10  # bytes of a format chunk; the extensible one has 40
MOST_RATE = 1_000_000
MOST_CHANNELS = 64


@dataclass(frozen=True)
class Wav:
    """What the header of a WAV file says; `frames` are samples of each channel, `start` is where they begin."""

    rate: int
    channels: int
    bits: int
    floating: bool
    frames: int
    start: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8


def header(path: Path) -> Wav:
    """Reads the header.

    Raises:
        Unreadable: for a file that isn't a WAV, is cut short, or is compressed.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            riff, _, kind = struct.unpack("<4sI4s", file.read(12))
            if riff != b"RIFF" or kind != b"WAVE":
                raise Unreadable(f"is no WAV file: it begins with {riff!r}")
            fields: tuple[int, int, int, int] | None = None
            while True:
                chunk, length = struct.unpack("<4sI", file.read(8))
                if chunk == b"fmt ":
                    fields = _format(file.read(min(length, LONGEST_FORMAT)))
                    file.seek(length - min(length, LONGEST_FORMAT) + length % 2, 1)
                elif chunk == b"data":
                    break
                else:
                    file.seek(length + length % 2, 1)
            start = file.tell()
    except struct.error as error:
        raise Unreadable("is no whole WAV file: its header is cut short") from error
    except OSError as error:
        raise Unreadable(f"can't be read: {error.strerror}") from error
    if fields is None:
        raise Unreadable("is no whole WAV file: it has no format")
    there = size - start
    if length not in UNKNOWN_SIZES and length > there:
        raise Unreadable(f"is cut short: its header promises {length:,} bytes of sound, and it has {there:,}")
    kind, channels, rate, bits = fields
    used = there if length in UNKNOWN_SIZES else length
    return Wav(rate, channels, bits, kind == FLOAT, used // (channels * bits // 8), start)


def _format(raw: bytes) -> tuple[int, int, int, int]:
    """Kind, channels, rate and bits a sample, of a format chunk."""
    kind, channels, rate, _, align, bits = struct.unpack("<HHIIHH", raw[:16])
    if kind == EXTENSIBLE and len(raw) >= 26:
        kind = struct.unpack("<H", raw[24:26])[0]
    if kind not in (PCM, FLOAT):
        raise Unreadable(f"is compressed ({OTHERS.get(kind, f'format {kind}')}); {CONVERT}")
    if bits not in ((8, 16, 24, 32) if kind == PCM else (32, 64)):
        raise Unreadable(f"has {bits} bits a sample; {CONVERT}")
    if not 0 < rate <= MOST_RATE or not 0 < channels <= MOST_CHANNELS or align != channels * bits // 8:
        raise Unreadable(f"has a header that makes no sense: {channels} channels, {rate} Hz, {align} bytes a frame")
    return kind, channels, rate, bits


def read(path: Path, wav: Wav, most: int | None = None) -> np.ndarray:
    """The sound as float32 within -1 to 1, its channels averaged; at most the first `most` samples.

    Raises:
        Unreadable: for a sound with no samples, or with values that are not finite.
    """
    frames = wav.frames if most is None else min(wav.frames, most)
    if not frames:
        raise Unreadable("holds no samples")
    with open(path, "rb") as file:
        file.seek(wav.start)
        raw = file.read(frames * wav.frame_bytes)
    if len(raw) < frames * wav.frame_bytes:
        raise Unreadable("is cut short")
    if wav.floating:
        values = np.frombuffer(raw, f"<f{wav.bits // 8}").astype(np.float32)
    elif wav.bits == 24:  # three bytes each, into the upper three of four
        wide = np.zeros((frames * wav.channels, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0] / np.float32(2**31)
    elif wav.bits == 8:  # the only one without a sign
        values = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    else:
        values = np.frombuffer(raw, f"<i{wav.bits // 8}") / np.float32(2 ** (wav.bits - 1))
    if not np.isfinite(values).all():
        raise Unreadable("holds values that are not finite")
    return values.reshape(-1, wav.channels).mean(1, dtype=np.float32)
