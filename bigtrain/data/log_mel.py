"""Sound as log-mel features: how much energy each band of hearing has, 100 times a second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data import wav
from bigtrain.data.spec import Field, Reader

FLOOR = 1e-10  # power below which all is silence
LOWEST = 20.0  # Hz; below it nobody hears
CROSSINGS = 24  # zero crossings of the resampling filter on each side
BETA = 8.6  # of its Kaiser window: 80 dB of attenuation
ROLLOFF = 0.9  # where its pass band ends, as a share of the lower of the two Nyquist frequencies
MOST_STEPS = 1 << 20


@dataclass(frozen=True)
class LogMel:
    """Sound files as float32 [steps, mels]: (log10(mel power + 1e-10) + 4) / 4, so that speech lies about 0.

    The spectrum is of Hann windows without padding (a sound shorter than a window is filled up with silence); bands are
    triangles of height 1 with corners equally far apart on the HTK mel scale, from 20 Hz to half the rate.

    Args:
        rate: samples a second; other rates are resampled.
        mels: bands.
        window_ms: length of a window.
        hop_ms: from the start of a window to that of the next.
        steps: windows; longer sounds are cut, shorter ones end in silence.
        lengths: whether the model is told how many steps each sound has.
    """

    rate: int
    mels: int
    window_ms: float
    hop_ms: float
    steps: int
    lengths: bool

    @property
    def window(self) -> int:
        """Samples of a window."""
        return max(2, round(self.rate * self.window_ms / 1000))

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return max(1, round(self.rate * self.hop_ms / 1000))

    @property
    def shape(self) -> tuple[int, ...]:
        """Steps and bands."""
        return (self.steps, self.mels)

    @property
    def dtype(self) -> np.dtype:
        """Real values."""
        return np.dtype(np.float32)

    @property
    def field(self) -> Field:
        """Features as they are."""
        return Field(self.shape, "float32", "features")

    @property
    def reader(self) -> Reader:
        """How a user's sound becomes an input of the trained model."""
        return Reader("audio", asdict(self))

    @classmethod
    def of(cls, where: object, settings: Mapping[str, Any], shape: tuple[int, ...]) -> LogMel:
        """The features that a model's spec describes; it may come from a stranger."""
        try:
            made = cls(**settings)
            whole = all(type(value) is int and value > 0 for value in (made.rate, made.mels, made.steps))
            spans = all(type(value) in (int, float) and 0 < value <= 10_000 for value in (made.window_ms, made.hop_ms))
            sound = whole and spans and made.rate <= wav.MOST_RATE and made.steps <= MOST_STEPS and made.shape == shape
        except (TypeError, AttributeError):
            sound = False
        if not sound:
            problem = f"the model's sound reader has settings that make no sense: {dict(settings)}"
            raise DataError(where, problem[:200])
        return made

    def steps_of(self, header: wav.Wav) -> int:
        """The windows of a sound, uncut."""
        samples = -(-header.frames * self.rate // header.rate)
        return 1 + max(0, samples - self.window) // self.hop

    def decode(self, source: Path) -> np.ndarray:
        """The features of a WAV file [steps, mels]; what follows its end is silence."""
        header = wav.header(source)
        needed = self.window + (self.steps - 1) * self.hop
        ahead = CROSSINGS / ROLLOFF / min(self.rate, header.rate)
        most = math.ceil((needed / self.rate + ahead) * header.rate) + 1
        samples = resampled(wav.read(source, header, most), header.rate, self.rate)[:needed]
        rows = np.full(self.shape, (math.log10(FLOOR) + 4) / 4, np.float32)
        found = features(samples, self.rate, self.mels, self.window, self.hop)
        rows[: len(found)] = found[: self.steps]
        return rows


def features(samples: np.ndarray, rate: int, mels: int, window: int, hop: int) -> np.ndarray:
    """Log-mel features [1 + (N - window) // hop, mels] of float32 samples [N]."""
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    size = fft_size(window)
    spectrum = np.fft.rfft(frames * hann(window), size)
    power = spectrum.real**2 + spectrum.imag**2
    banks = filters(rate, size, mels)
    return ((np.log10(power @ banks + FLOOR) + 4) / 4).astype(np.float32)


def fft_size(window: int) -> int:
    """The power of two that a window is filled up to."""
    return 1 << (window - 1).bit_length()


@cache
def hann(window: int) -> np.ndarray:
    """The periodic Hann window [window], float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """Frequency on the mel scale, as HTK has it: 2595 log10(1 + f / 700)."""
    return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)


@cache
def filters(rate: int, size: int, mels: int) -> np.ndarray:
    """Triangular bands over the bins of a spectrum, float32 [size // 2 + 1, mels]."""
    corners = 700.0 * (10.0 ** (np.linspace(mel(LOWEST), mel(rate / 2), mels + 2) / 2595.0) - 1.0)
    bins = np.arange(size // 2 + 1)[:, None] * rate / size
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The same sound at another rate, float32 [ceil(N * wanted / rate)].

    Each new sample is a weighted sum of the old ones around its time, with a sinc that a Kaiser window ends. Above
    the lower Nyquist frequency it lets nothing through, so nothing is folded back (Smith, "Digital Audio Resampling").
    """
    if rate == wanted:
        return samples
    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    banks, reach = _kernel(up, down)
    number = -(-len(samples) * up // down)
    padded = np.pad(samples, (reach, reach + down))
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach)
    result = np.empty(number, np.float32)
    for phase in range(min(up, number)):  # samples `up` apart lie equally between the old ones
        mine = result[phase::up]
        first = phase * down // up + 1
        mine[:] = views[first::down][: len(mine)] @ banks[phase]
    return result


@cache
def _kernel(up: int, down: int) -> tuple[np.ndarray, int]:
    """The filter of each phase, float32 [up, 2 * reach], and how many old samples it reaches to each side."""
    cutoff = ROLLOFF * min(1.0, up / down)  # of the old Nyquist frequency
    reach = math.ceil(CROSSINGS / cutoff)
    fractions = (np.arange(up) * down % up) / up
    distances = np.arange(1 - reach, reach + 1) - fractions[:, None]
    inside = np.clip(1.0 - (distances / reach) ** 2, 0.0, None)
    weights = cutoff * np.sinc(cutoff * distances) * np.i0(BETA * np.sqrt(inside)) / np.i0(BETA)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32), reach
