"""Sounds: what a WAV file holds, at another rate, as log-mel features, and folders of them."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from files import write_sounds, write_wav
from scipy.signal import resample_poly

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data import decoded, log_mel, wav
from bigtrain.data.audio_folder import audio_folder
from bigtrain.data.decoded import Unreadable
from bigtrain.data.log_mel import LogMel, features, filters, mel, resampled
from bigtrain.data.serialize import spec_from_json, spec_to_json
from bigtrain.data.spec import Dataset
from bigtrain.inference.inputs import read_inputs

RAMP = np.array([-1.0, -0.5, 0.0, 0.25, 0.5])


def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    body = b"".join(
        name
        + struct.pack("<I", len(data) if size is None or name != b"data" else size)
        + data
        + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def form(kind: int, channels: int, bits: int, rate: int = 8000) -> bytes:
    align = channels * bits // 8
    return struct.pack("<HHIIHH", kind, channels, rate, rate * align, align, bits)


def extensible(kind: int, channels: int, bits: int) -> bytes:
    return form(0xFFFE, channels, bits) + struct.pack("<HHIH", 22, bits, 0, kind) + b"\0" * 14


def raw(bits: int, *, floating: bool = False, values: np.ndarray = RAMP) -> bytes:
    """The samples as a WAV of that kind holds them."""
    if floating:
        return values.astype(f"<f{bits // 8}").tobytes()
    if bits == 8:
        return (values * 128 + 128).astype(np.uint8).tobytes()
    whole = (values * 2 ** (bits - 1)).astype("<i8").view(np.uint8).reshape(-1, 8)
    return whole[:, : bits // 8].tobytes()


def everything(dataset: Dataset) -> dict[str, np.ndarray]:
    source = dataset.splits["train"]
    return source[np.arange(len(source))]


@pytest.mark.parametrize("header", [form, extensible])
@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_every_kind_of_sample(kind: int, bits: int, header: object, tmp_path: Path) -> None:
    mono, stereo = tmp_path / "mono.wav", tmp_path / "stereo.wav"
    mono.write_bytes(
        riff((b"LIST", b"odd"), (b"fmt ", header(kind, 1, bits)), (b"data", raw(bits, floating=kind == 3)))
    )
    found = wav.read(mono, wav.header(mono))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, RAMP)
    both = raw(bits, floating=kind == 3, values=np.stack([RAMP, np.zeros(5)], 1).ravel())
    stereo.write_bytes(riff((b"fmt ", header(kind, 2, bits)), (b"data", both), (b"more", b"1234")))
    np.testing.assert_array_equal(wav.read(stereo, wav.header(stereo)), RAMP / 2)
    np.testing.assert_array_equal(wav.read(stereo, wav.header(stereo), 2), RAMP[:2] / 2)


def test_a_size_that_the_writer_did_not_know(tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    path.write_bytes(riff((b"fmt ", form(1, 1, 16)), (b"data", raw(16)), size=0xFFFFFFFF))
    np.testing.assert_array_equal(wav.read(path, wav.header(path)), RAMP)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"ID3 and an mp3 file", "is no WAV file: it begins with b'ID3 '"),
        (b"RI", "is no whole WAV file: its header is cut short"),
        (riff((b"fmt ", form(1, 1, 16))), "is no whole WAV file: its header is cut short"),
        (riff((b"data", b"1234")), "is no whole WAV file: it has no format"),
        (riff((b"fmt ", form(1, 1, 16)), (b"data", b"12"), size=100),
         "is cut short: its header promises 100 bytes of sound, and it has 2"),
        (riff((b"fmt ", form(6, 1, 8)), (b"data", b"12")),
         "is compressed (A-law); convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"),
        (riff((b"fmt ", form(99, 1, 16)), (b"data", b"12")),
         "is compressed (format 99); convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"),
        (riff((b"fmt ", form(1, 1, 12)), (b"data", b"12")),
         "has 12 bits a sample; convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"),
        (riff((b"fmt ", form(1, 0, 16)), (b"data", b"12")),
         "has a header that makes no sense: 0 channels, 8000 Hz, 0 bytes a frame"),
        (riff((b"fmt ", form(3, 1, 32)), (b"data", struct.pack("<f", math.nan))), "holds values that are not finite"),
        (riff((b"fmt ", form(1, 1, 16)), (b"data", b"")), "holds no samples"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(content: bytes, answer: str, tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(Unreadable) as raised:
        wav.read(path, wav.header(path))
    assert str(raised.value) == answer


RATES = [(44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (16_000, 44_100), (11_025, 8_000)]


@pytest.mark.parametrize(("rate", "wanted"), RATES)
def test_a_tone_keeps_its_pitch_at_another_rate(rate: int, wanted: int) -> None:
    for hertz in (100.0, 0.4 * min(rate, wanted)):
        found = resampled(np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32), rate, wanted)
        assert len(found) == wanted
        expected = np.sin(2 * np.pi * hertz * np.arange(wanted) / wanted)
        np.testing.assert_allclose(found[400:-400], expected[400:-400], atol=1e-3)


@pytest.mark.parametrize("hertz", [8_500, 9_000, 12_000, 20_000])
def test_what_the_new_rate_cannot_hold_is_not_folded_back(hertz: int) -> None:
    found = resampled(np.sin(2 * np.pi * hertz * np.arange(44_100) / 44_100).astype(np.float32), 44_100, 16_000)
    assert np.abs(found[400:-400]).max() < 1e-3  # -60 dB


@pytest.mark.parametrize("length", [1, 2, 37, 441, 442, 5000])
def test_every_length_becomes_what_scipy_makes_of_it(length: int) -> None:
    """Of noise without high frequencies; scipy's filter is another one, so they agree to a part in a hundred."""
    noise = np.convolve(np.random.default_rng(0).normal(size=length + 200), np.hanning(80) / 40, "valid")[:length]
    padded = np.pad(noise, 500).astype(np.float32)
    found = resampled(padded, 44_100, 16_000)
    expected = resample_poly(padded, 160, 441)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert len(resampled(noise.astype(np.float32), 44_100, 16_000)) == -(-length * 160 // 441)


def test_features_are_what_the_definition_says() -> None:
    """Window by window, by a Fourier transform written out."""
    rate, mels, window, hop = 8000, 6, 50, 20
    samples = np.random.default_rng(0).normal(size=211).astype(np.float32)
    found = features(samples, rate, mels, window, hop)
    assert found.shape == (1 + (211 - 50) // 20, mels)
    corners = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(mel(20.0), mel(4000.0), mels + 2)]
    for step in (0, 3, 8):
        part = samples[step * hop : step * hop + window].astype(float)
        part *= [0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)]
        energy = np.zeros(mels)
        for bin_ in range(33):  # of a transform of 64 values
            power = abs(sum(value * np.exp(-2j * np.pi * bin_ * n / 64) for n, value in enumerate(part))) ** 2
            hertz = bin_ * rate / 64
            for band in range(mels):
                low, middle, high = corners[band : band + 3]
                energy[band] += power * max(0.0, min((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
        np.testing.assert_allclose(found[step], (np.log10(energy + 1e-10) + 4) / 4, rtol=1e-4)


def test_a_tone_is_loudest_in_its_band_and_silence_is_the_floor() -> None:
    assert float(mel(1000.0)) == pytest.approx(1000, abs=0.1)  # what the scale is made for
    centres = 700 * (10 ** (np.linspace(mel(20.0), mel(8000.0), 42)[1:-1] / 2595) - 1)
    for band in (3, 15, 38):
        tone = np.sin(2 * np.pi * centres[band] * np.arange(4000) / 16_000).astype(np.float32)
        assert set(features(tone, 16_000, 40, 400, 160).argmax(1)) == {band}
    np.testing.assert_allclose(features(np.zeros(500, np.float32), 16_000, 40, 400, 160), -1.5, rtol=1e-6)
    assert filters(16_000, 512, 40).max() <= 1


def test_a_folder(workdir: Path) -> None:
    write_sounds(workdir / "set")
    made = audio_folder(path="set", mels=8, validation=0.2, test=0)
    assert made.spec.classes == ("high", "low")
    assert dict(made.spec.sizes) == {"train": 32, "validation": 8, "test": 0}
    assert made.spec.notes["rates"] == "8000 Hz, resampled to 16000"
    batch = everything(made)
    steps = made.spec.inputs.shape[0]
    assert batch["inputs"].shape == (32, steps, 8)
    assert made.spec.fields["lengths"].kind == "length"
    assert batch["lengths"].max() == steps > batch["lengths"].min() >= 1
    for row, length, label in zip(batch["inputs"], batch["lengths"], batch["targets"], strict=True):
        np.testing.assert_array_equal(row[length + 2 :], -1.5)  # the filter rings on for a moment
        assert (row[length // 2].argmax() > 3) == (label == 0)


def test_lengths_are_given_where_they_differ_and_wanted(workdir: Path) -> None:
    write_sounds(workdir / "set", number=5)
    assert "lengths" not in audio_folder(path="set", mels=8, lengths="none").spec.fields
    cut = audio_folder(path="set", mels=8, seconds=0.05, validation=0, test=0)
    assert "lengths" not in cut.spec.fields, "all are longer than that"
    assert cut.spec.inputs.shape == (3, 8)  # 1 + (800 - 400) // 160
    assert cut.spec.notes["cut"] == "10 of 10 sounds, to 0.05 seconds"
    whole = audio_folder(path="set", mels=8, validation=0, test=0)
    np.testing.assert_allclose(everything(cut)["inputs"], everything(whole)["inputs"][:, :3], atol=1e-6)


def test_what_does_not_fit_is_computed_as_it_is_read(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sounds(workdir / "set", number=4)
    kept = everything(audio_folder(path="set", mels=8))
    monkeypatch.setattr(decoded, "KEPT_BYTES", 10)
    lazy = audio_folder(path="set", mels=8)
    assert lazy.spec.notes["sounds"] == "8, decoded as they are read"
    for name, values in everything(lazy).items():
        np.testing.assert_array_equal(values, kept[name])


def test_broken_sounds_are_refused_by_name_or_skipped_with_their_lengths(workdir: Path) -> None:
    write_sounds(workdir / "set", number=4)
    before = everything(audio_folder(path="set", mels=8, validation=0, test=0))
    good = (workdir / "set/high/000.wav").read_bytes()
    (workdir / "set/high/0.wav").write_bytes(good[:-10])
    nan = riff((b"fmt ", form(3, 1, 32)), (b"data", struct.pack("<f", math.nan)))
    (workdir / "set/low/0.wav").write_bytes(nan)
    with pytest.raises(DataError) as raised:
        audio_folder(path="set", mels=8)
    assert str(raised.value).startswith("set/high/0.wav: is cut short: its header promises ")
    (workdir / "set/high/1.wav").write_bytes(b"")
    made = audio_folder(path="set", mels=8, broken="skip", validation=0, test=0)
    assert made.spec.notes["skipped"] == "2 files broken, such as high/0.wav; 1 file broken, such as low/0.wav"
    for name, values in everything(made).items():
        np.testing.assert_array_equal(values, before[name])


def test_mistakes(workdir: Path) -> None:
    write_wav(workdir / "set/a/1.wav", np.zeros(3000))
    with pytest.raises(ConfigError) as raised:
        audio_folder(path="set", mels=200)
    assert str(raised.value) == (
        "data.mels: 10 of 200 bands are narrower than the spectrum of 400 samples can tell\n"
        "  use fewer (100), or a longer data.window_ms"
    )
    Path("other").mkdir()
    Path("other/a.mp3").write_bytes(b"x")
    with pytest.raises(DataError) as refused:
        audio_folder(path="other")
    assert str(refused.value) == (
        "other: holds no WAV files; it has 1 .mp3\n  only WAV is read; convert others: ffmpeg -i IN.mp3 OUT.wav"
    )


def test_a_users_sounds_become_what_training_saw(workdir: Path) -> None:
    write_sounds(workdir / "set", number=3)
    made = audio_folder(path="set", mels=8, validation=0, test=0)
    spec = spec_from_json(json.loads(spec_to_json(made.spec)), "spec.json")
    found, expected = read_inputs(Path("set"), spec), everything(made)
    np.testing.assert_array_equal(found["inputs"], expected["inputs"])
    np.testing.assert_array_equal(found["lengths"], expected["lengths"])
    one = read_inputs(Path("set/low/001.wav"), spec)
    np.testing.assert_array_equal(one["inputs"][0], expected["inputs"][4])
    with pytest.raises(DataError, match="the model's sound reader has settings that make no sense"):
        LogMel.of("spec.json", {**made.spec.reader.settings, "rate": -1}, made.spec.inputs.shape)


def test_a_long_sound_is_read_only_as_far_as_it_is_used(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(workdir / "long.wav", np.random.default_rng(0).normal(size=80_000) * 0.1)
    recipe = LogMel(16_000, 8, 25.0, 10.0, 20, False)
    short = recipe.decode(workdir / "long.wav")
    whole = features(log_mel.resampled(wav.read(workdir / "long.wav", wav.header(workdir / "long.wav")), 8000, 16_000),
                     16_000, 8, 400, 160)  # fmt: skip
    np.testing.assert_allclose(short, whole[:20], atol=1e-5)
    asked = []
    monkeypatch.setattr(wav, "read", lambda path, header, most: asked.append(most) or np.zeros(most, np.float32))
    recipe.decode(workdir / "long.wav")
    assert asked[0] < 2000
