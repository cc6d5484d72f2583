"""The peak of a device: from the table, measured once, and raised by what was reached."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

from bigtrain.parallel import peak as peaks
from bigtrain.parallel.peak import peak, tabled


@dataclass(frozen=True)
class Device:
    device_kind: str
    platform: str = "gpu"
    process_index: int = 0


@pytest.mark.parametrize(
    ("kind", "bf16", "f32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12, 494.7e12),
        ("NVIDIA H100 PCIe", 756e12, 378e12),
        ("NVIDIA A100-SXM4-80GB", 312e12, 156e12),
        ("TPU v5 lite", 197e12, 197e12),
        ("TPU v5p", 459e12, 459e12),
        ("TPU v4", 275e12, 275e12),
        ("NVIDIA H100 NVL", 835.5e12, 417.5e12),
        ("NVIDIA L4", 121e12, 60e12),
        ("NVIDIA GH200 480GB", 989.4e12, 494.7e12),
        ("NVIDIA GB200", 2500e12, 1250e12),
        ("TPU v6 lite", 918e12, 918e12),
        ("NVIDIA L40S", 362e12, 183e12),
    ],
)
def test_the_makers_numbers(kind: str, bf16: float, f32: float) -> None:
    assert tabled(kind, "bf16") == pytest.approx(bf16)
    assert tabled(kind, "f32") == pytest.approx(f32)


@pytest.mark.parametrize("kind", ["NVIDIA RTX A1000 Laptop GPU", "NVIDIA A10G", "NVIDIA L40", "Tesla V100", "cpu"])
def test_what_only_looks_like_a_name_in_the_table_has_no_number(kind: str) -> None:
    assert tabled(kind, "bf16") is None


def test_what_was_reached_is_a_peak_and_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "measured", lambda *_: 5.0)
    device, cache = Device("cpu", "cpu"), tmp_path / "peak.json"
    for reached, expected in ((4.0, 5.0), (8.0, 8.0), (6.0, 8.0)):
        found = peak([device], "f32", cache, measure=True, reached=reached)
        assert found is not None
        assert found.flops == expected
    tpu = [Device("TPU v4")]
    assert "maker" in peak(tpu, "bf16", cache, measure=False, reached=1e12).source
    beyond = peak(tpu, "bf16", cache, measure=False, reached=300e12)
    assert (beyond.flops, beyond.source) == (300e12, "what this run reached")


def test_devices_add_up_unless_they_are_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = peak([Device("TPU v4")] * 4, "bf16", tmp_path / "peak.json", measure=False)
    assert found is not None
    assert found.flops == pytest.approx(4 * 275e12)
    monkeypatch.setattr(peaks, "measured", lambda *_: 5.0)
    for number in (1, 8):
        simulated = peak([Device("cpu", "cpu")] * number, "f32", tmp_path / "peak.json", measure=True)
        assert simulated is not None
        assert simulated.flops == 5.0


def test_it_is_measured_only_when_asked_and_the_fastest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "deep" / "peak.json"
    device = jax.devices()[0]
    assert peak([device], "f32", cache, measure=False) is None
    monkeypatch.setattr(peaks, "SIZES", (64, 128))
    monkeypatch.setattr(peaks, "SECONDS", 0.01)
    first = peak([device], "f32", cache, measure=True)
    assert first is not None
    assert first.flops > 1e6
    assert list(json.loads(cache.read_text()).values()) == [first.flops]
    for busy_or_not, expected in ((0.5, first.flops), (2.0, 2 * first.flops), (1.0, 2 * first.flops)):
        monkeypatch.setattr(peaks, "measured", lambda *_, by=busy_or_not: by * first.flops)
        again = peak([device], "f32", cache, measure=True)
        assert again is not None
        assert again.flops == expected
    monkeypatch.setattr(peaks, "measured", lambda *_: pytest.fail("nobody asked for it"))
    assert peak([device], "f32", cache, measure=False) == again


def test_each_host_of_processors_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "measured", lambda *_: 5.0)
    devices = [Device("cpu", "cpu", process) for process in (0, 0, 1, 1)]
    found = peak(devices, "f32", tmp_path / "peak.json", measure=True)
    assert found is not None
    assert found.flops == 10.0


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": "b"}'])
def test_a_damaged_file_is_measured_anew(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "measured", lambda *_: 7.0)
    (tmp_path / "peak.json").write_text(text)
    found = peak([Device("cpu", "cpu")], "f32", tmp_path / "peak.json", measure=True)
    assert found is not None
    assert found.flops == 7.0
