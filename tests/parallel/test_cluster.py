"""Where a process stands: from the config, from `bigtrain launch`, or from the variables of a cluster."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytest

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import DistributedConfig
from bigtrain.parallel import cluster
from bigtrain.parallel.cluster import Coordinates, coordinates

SLURM = {
    "SLURM_JOB_ID": "4100",
    "SLURM_STEP_NODELIST": "node[007-009,012]",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x4)",
}
OPEN_MPI_4 = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
OPEN_MPI_5 = {name: value for name, value in OPEN_MPI_4.items() if "orte" not in name}
TPU = {
    "TPU_WORKER_HOSTNAMES": "w-0.svc,w-1.svc",
    "TPU_WORKER_ID": "1",
    "MEGASCALE_NUM_SLICES": "2",
    "MEGASCALE_SLICE_ID": "1",
    "MEGASCALE_COORDINATOR_ADDRESS": "job-slice-0-0.job:8080",
}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "2"}
GIVEN = {"coordinator": "host:1234", "num_processes": 4, "process_id": 1}


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes packages look installed, or not."""

    def are(**installed: bool) -> None:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: find("os") if installed.get(name) else None)

    return are


def test_by_itself() -> None:
    assert coordinates(DistributedConfig(), {"PATH": "/bin"}) is None


def test_from_the_config() -> None:
    assert coordinates(DistributedConfig(**GIVEN), {}) == Coordinates("distributed.*", "host:1234", 4, 1)


@pytest.mark.parametrize("left_out", GIVEN)
def test_the_three_belong_together(left_out: str) -> None:
    given = {name: value for name, value in GIVEN.items() if name != left_out}
    with pytest.raises(ConfigError, match=f"^distributed.{left_out}: is required\n") as caught:
        coordinates(DistributedConfig(**given), {})
    assert "HOST:PORT" in str(caught.value)


@pytest.mark.parametrize(("index", "count"), [(4, 4), (9, 2)])
def test_a_process_that_there_is_not(index: int, count: int) -> None:
    with pytest.raises(ConfigError, match=f"^distributed.process_id: {index} is not one of {count} processes"):
        coordinates(DistributedConfig("host:1", count, index), {})


@pytest.mark.parametrize(
    "address", ["host", "host:port", ":80", "http://host:80/", "host:0", "host:65536", "host:99999"]
)
def test_an_address_without_a_port_that_can_be(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^distributed.coordinator: .* is not allowed\n  allowed: HOST:PORT"):
        coordinates(DistributedConfig(address, 2, 0), {})


@pytest.mark.parametrize("address", ["node-1.cluster:80", "[fe80::1]:8476", "10.0.0.1:61440", "host:65535"])
def test_addresses(address: str) -> None:
    found = coordinates(DistributedConfig(address, 2, 0), {})
    assert found is not None
    assert found.coordinator == address


def test_from_the_launcher() -> None:
    environ = cluster.told("127.0.0.1:99", 3, 2)
    assert coordinates(DistributedConfig(), environ) == Coordinates("bigtrain launch", "127.0.0.1:99", 3, 2, (2, 3))
    assert coordinates(DistributedConfig(), cluster.told("127.0.0.1:99", 1, 0)) is None


def test_one_process_is_asked_for_in_a_cluster() -> None:
    assert coordinates(DistributedConfig(num_processes=1), SLURM) is None


def test_slurm() -> None:
    expected = Coordinates("Slurm", f"node007:{61440 + 4}", 8, 5, (1, 2))
    assert coordinates(DistributedConfig(), SLURM) == expected
    jax = pytest.importorskip("jax._src.clusters").SlurmCluster
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SLURM.items():
            patch.setenv(name, value)
        assert jax.is_env_present()
        assert jax.get_coordinator_address(300, None) == expected.coordinator, "as JAX itself reads it"
        assert (jax.get_process_count(), jax.get_process_id()) == (8, 5)


@pytest.mark.parametrize(
    ("nodes", "host"), [("node001", "node001"), ("a,b", "a"), ("n[3,7-9],b", "n3"), ("gpu-a1-[10-12]", "gpu-a1-10")]
)
def test_slurms_lists_of_nodes(nodes: str, host: str) -> None:
    found = coordinates(DistributedConfig(), SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert found is not None
    assert found.coordinator == f"{host}:61444"


def test_the_script_of_sbatch_is_no_task() -> None:
    script = {name: value for name, value in SLURM.items() if "STEP" not in name}
    assert coordinates(DistributedConfig(), script) is None


def test_open_mpi_4() -> None:
    found = coordinates(DistributedConfig(), OPEN_MPI_4)
    assert found is not None
    assert (found.source, found.count, found.index, found.local) == ("Open MPI", 4, 3, (1, 2))
    jax = pytest.importorskip("jax._src.clusters").OmpiCluster
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OPEN_MPI_4.items():
            patch.setenv(name, value)
        assert found.coordinator == jax.get_coordinator_address(300, None)


def test_open_mpi_5_needs_an_address_between_hosts_and_none_on_one() -> None:
    with pytest.raises(ConfigError, match=r"^distributed.coordinator: is required, and Open MPI does not tell it"):
        coordinates(DistributedConfig(), OPEN_MPI_5)
    found = coordinates(DistributedConfig("first:4000"), OPEN_MPI_5)
    assert found == Coordinates("Open MPI", "first:4000", 4, 3, (1, 2))
    here = OPEN_MPI_5 | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "PMIX_NAMESPACE": "prterun-host-77@1"}
    addresses = {
        coordinates(DistributedConfig(), here | {"OMPI_COMM_WORLD_RANK": str(k)}).coordinator for k in range(4)
    }  # type: ignore[union-attr]
    assert len(addresses) == 1
    assert addresses.pop().startswith("127.0.0.1:")


def test_cloud_tpu(packages: Any) -> None:
    packages(libtpu=True)
    assert coordinates(DistributedConfig(), TPU) == Coordinates("Cloud TPU", "job-slice-0-0.job:8482", 4, 3)
    single = {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
    assert coordinates(DistributedConfig(), single) is None
    assert coordinates(DistributedConfig(), TPU | {"JAX_PLATFORMS": "cpu"}) is None
    packages(libtpu=False)
    assert coordinates(DistributedConfig(), TPU) is None


def test_kubernetes(packages: Any) -> None:
    packages(kubernetes=False)
    address = "train-workers-0-0.train:8476"
    found = coordinates(DistributedConfig(address, 4), POD)
    assert found == Coordinates("Kubernetes", address, 4, 2)
    with pytest.raises(ConfigError, match="pip install kubernetes, or give ") as caught:
        coordinates(DistributedConfig(), POD)
    assert "distributed.num_processes=1 makes each pod a run by itself" in str(caught.value)
    assert coordinates(DistributedConfig(num_processes=1), POD) is None
    assert coordinates(DistributedConfig(), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) is None, "a pod by itself"


def test_kubernetes_is_asked_through_jax(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from jax._src.clusters import K8sCluster

    packages(kubernetes=True)
    monkeypatch.setattr(K8sCluster, "is_env_present", lambda: True)
    monkeypatch.setattr(K8sCluster, "get_coordinator_address", lambda **_: "train-0.train:55527")
    monkeypatch.setattr(K8sCluster, "get_process_count", lambda: 4)
    monkeypatch.setattr(K8sCluster, "get_process_id", lambda: 2)
    assert coordinates(DistributedConfig(), POD) == Coordinates("Kubernetes", "train-0.train:55527", 4, 2)

    def forbidden(**_: object) -> str:
        raise RuntimeError("Kubernetes API Error: 403 - Forbidden")

    monkeypatch.setattr(K8sCluster, "get_coordinator_address", forbidden)
    with pytest.raises(ConfigError, match=r"Kubernetes could not be asked: .* 403"):
        coordinates(DistributedConfig(), POD)


@pytest.mark.parametrize(
    ("local", "visible", "expected"),
    [
        ((1, 4), "0,1,2,3", [1]),
        ((1, 2), "4,5,6,7", [2, 3]),
        ((0, 1), "0,1,2,3", None),  # one process has them all
        ((3, 4), "0", None),  # Slurm has already given each its own
        ((0, 2), "0,1,2", None),
        (None, "0,1", None),
        ((1, 4), "", None),
    ],
)
def test_shares_of_the_gpus_of_a_host(local: Any, visible: str, expected: Any) -> None:
    assert cluster.share_of_devices(local, {"CUDA_VISIBLE_DEVICES": visible}) == expected


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (["fit", "steps=3"], {}, 0),
        (["fit", "distributed.process_id=3"], {"SLURM_PROCID": "1"}, 3),
        (["fit", "distributed.process_id=x"], {}, 0),
        (["fit"], {"SLURM_PROCID": "1"}, 1),
        (["fit"], {"JOB_COMPLETION_INDEX": "2"}, 2),
        (["fit"], {"SLURM_PROCID": "\u00b2", "TPU_WORKER_ID": "-1"}, 0),
    ],
)
def test_who_speaks_before_the_config_is_understood(arguments: Any, environ: Any, expected: int) -> None:
    assert cluster.rank(arguments, environ) == expected


@pytest.mark.parametrize(
    ("environ", "name", "value"),
    [
        (cluster.told("127.0.0.1:99", 3, 2), "BIGTRAIN_PROCESSES", "three"),
        (cluster.told("127.0.0.1:99", 3, 2), "BIGTRAIN_PROCESS", ""),
        (OPEN_MPI_4, "OMPI_COMM_WORLD_SIZE", "4.0"),
        (OPEN_MPI_4, "OMPI_COMM_WORLD_RANK", "-1"),
        (OPEN_MPI_4, "OMPI_COMM_WORLD_LOCAL_RANK", "x"),
        (SLURM, "SLURM_JOB_ID", "4100_1"),
        (SLURM, "SLURM_NTASKS", "8(x2)"),
        (SLURM, "SLURM_STEP_NUM_TASKS", "many"),
        (SLURM, "SLURM_PROCID", "\u00b2"),
        (SLURM, "SLURM_LOCALID", "9" * 5000),
        (SLURM, "JAX_COORDINATOR_PORT", "http"),
        (TPU, "TPU_WORKER_ID", "a"),
        (TPU, "MEGASCALE_NUM_SLICES", "2x"),
        (TPU, "MEGASCALE_SLICE_ID", "?"),
        (POD, "JOB_COMPLETION_INDEX", "two"),
    ],
)
def test_a_variable_that_is_no_number_is_named(packages: Any, environ: dict[str, str], name: str, value: str) -> None:
    packages(libtpu=environ is TPU)
    with pytest.raises(ConfigError, match=f"^distributed: the environment variable {name} is ") as caught:
        coordinates(DistributedConfig(), {**environ, name: value})
    assert "distributed.num_processes=1" in str(caught.value)
    assert coordinates(DistributedConfig(num_processes=1), {**environ, name: value}) is None


def test_no_cluster_is_seen_here() -> None:
    """The tests themselves run outside of one."""
    assert not any(name.startswith(("SLURM_STEP", "OMPI_COMM")) for name in os.environ)
