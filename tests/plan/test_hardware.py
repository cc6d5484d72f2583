"""Names of hardware, what they mean, and what is said of those that aren't known."""

from __future__ import annotations

import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn

from bigtrain.config.errors import ConfigError
from bigtrain.parallel.peak import tabled
from bigtrain.plan import topology
from bigtrain.plan.gpu_target import CORES, target
from bigtrain.plan.hardware import CHIPS, parse, usable
from bigtrain.plan.topology import environment


@pytest.mark.parametrize(
    ("typed", "name", "topology", "granules"),
    [
        ("tpu-v5e-256", "tpu-v5e-256", "v5e:16x16", 1),
        ("v5e-8", "tpu-v5e-8", "v5e:2x4", 1),
        ("tpu-v5e-1", "tpu-v5e-1", "v5e:2x2", 1),
        ("tpu-v5e", "tpu-v5e-1", "v5e:2x2", 1),
        ("tpu-v5e-512", "tpu-v5e-512", "v5e:16x16", 2),
        ("tpu-v5p-512", "tpu-v5p-512", "v5p:8x8x8", 1),
        ("TPU-v6e-4", "tpu-v6e-4", "v6e:2x2", 1),
        ("h100x256", "gpu-h100-256", "1x32x8", 32),
        ("gpu-h100-256", "gpu-h100-256", "1x32x8", 32),
        ("a100-40gb-4", "gpu-a100-40gb-4", "1x1x4", 1),
        ("b200", "gpu-b200-1", "1x1x1", 1),
    ],
)
def test_names(typed: str, name: str, topology: str, granules: int) -> None:
    found = parse(typed)
    assert (found.name, found.topology, found.granules) == (name, topology, granules)
    assert parse(found.name) == found


def test_the_cpu_and_simulated_devices() -> None:
    assert (parse("cpu").name, parse("cpu").count) == ("cpu", 1)
    assert (parse("cpu-8").name, parse("cpux8").count) == ("cpu-8", 8)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("tpu-v5f-256", "did you mean 'tpu-v5p-256' or 'tpu-v5e-256'?"),
        ("gpux100-8", "did you mean 'gpu-h100-8' or 'gpu-a100-8'?"),
        ("tpu-h100-8", "did you mean 'gpu-h100-8' or 'gpu-h200-8'?"),
        ("tpuv5e-256", "did you mean 'tpu-v5e-256' or 'tpu-v6e-256'?"),
    ],
)
def test_a_misspelling_gets_the_nearest_names(typed: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no hardware '{typed}'") as raised:
        parse(typed)
    assert hint in str(raised.value)
    assert "tpu-v5e-N" in str(raised.value)


def test_a_number_that_no_slice_has() -> None:
    with pytest.raises(ConfigError, match="no slices of v5e have 9 chips") as raised:
        parse("tpu-v5e-9")
    assert "hardware=tpu-v5e-4 or hardware=tpu-v5e-8" in str(raised.value)
    with pytest.raises(ConfigError, match="12 are no whole nodes of 8"):
        parse("h100-12")


@pytest.mark.parametrize("chip", [chip for chip in CHIPS.values() if chip.platform != "cpu"], ids=lambda c: c.name)
def test_every_accelerator_has_a_peak_and_can_use_less_than_it_has(chip) -> None:
    assert tabled(chip.kind, "bf16") >= tabled(chip.kind, "f32") > 0
    assert 0.7 * chip.memory < usable(chip) < chip.memory
    assert chip.link < chip.bandwidth


def test_the_share_of_a_gpu_that_xla_takes() -> None:
    assert usable(CHIPS["h100"], 0.9) == int(0.9 * CHIPS["h100"].memory)
    assert usable(CHIPS["v5e"], 0.9) == usable(CHIPS["v5e"])  # a TPU has no such share


def test_gpus_are_described_for_the_compiler() -> None:
    assert set(CORES) == {chip.name for chip in CHIPS.values() if chip.platform == "gpu"}
    text = target("h100")
    assert "device_memory_size: 84942979072" in text
    assert "cuda_compute_capability { major: 9 }" in text
    assert text.count("{") == text.count("}") == 3


def test_several_tpu_plans_at_a_time_may_load_the_library() -> None:
    assert environment(parse("tpu-v5e-4"))["ALLOW_MULTIPLE_LIBTPU_LOAD"] == "1"
    assert "ALLOW_MULTIPLE_LIBTPU_LOAD" not in environment(parse("h100"))


@pytest.mark.parametrize("installed", [0, 91_500])
def test_attention_is_planned_as_cudnn_s_also_where_only_jax_s_plugin_is_installed(
    installed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> int:
        if not installed:
            raise RuntimeError("cuDNN not found.")
        return installed

    monkeypatch.setattr(cudnn, "check_cudnn_version", check)
    topology._name_cudnn()
    assert cudnn.check_cudnn_version() == (installed or topology.CUDNN)
