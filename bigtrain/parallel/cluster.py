"""Which process of how many this is, and where process 0 listens: from the config, or from the cluster's environment.

Nothing here imports JAX but for Kubernetes and Google's virtual machines, whose interfaces only JAX's own code asks.
"""

from __future__ import annotations

import importlib.util
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import DistributedConfig

LOWEST_PORT, PORTS = 61440, 4096  # as JAX: the upper end of the ports that any user may open
TPU_PORT = 8482
_GIVEN = {
    "coordinator": "BIGTRAIN_COORDINATOR",
    "num_processes": "BIGTRAIN_PROCESSES",
    "process_id": "BIGTRAIN_PROCESS",
}
"""What `bigtrain launch` tells the processes that it starts."""

_NUMBER = re.compile("[0-9]{1,18}")
_ADDRESS = "HOST:PORT, with a port from 1 to 65535"
_RANKS = ("BIGTRAIN_PROCESS", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "JOB_COMPLETION_INDEX", "TPU_WORKER_ID")


@dataclass(frozen=True)
class Coordinates:
    """A process among the others of its job.

    Args:
        source: who said so, for people.
        coordinator: host and port of process 0.
        count: how many processes there are.
        index: which of them this is.
        local: which of how many processes of this host it is, where that is known.
    """

    source: str
    coordinator: str | None = None
    count: int | None = None
    index: int | None = None
    local: tuple[int, int] | None = None


def coordinates(cfg: DistributedConfig, environ: Mapping[str, str]) -> Coordinates | None:
    """Where this process stands; None when it is the only one.

    What the config says comes first, then what `bigtrain launch` said, then what the cluster says.

    Raises:
        ConfigError: when a part is missing, or the parts contradict each other.
    """
    if cfg.num_processes == 1 and cfg.process_id in (None, 0):
        return None
    found = launched(environ) or _cluster(cfg, environ)
    if found is None and (cfg.coordinator, cfg.num_processes, cfg.process_id) == (None, None, None):
        return None
    typed = {"coordinator": cfg.coordinator, "count": cfg.num_processes, "index": cfg.process_id}
    typed = {name: value for name, value in typed.items() if value is not None}
    merged = replace(found or Coordinates("distributed.*"), **typed)  # type: ignore[arg-type]
    if merged.count == 1 and merged.index in (None, 0):
        return None
    return _checked(merged)


def _checked(found: Coordinates) -> Coordinates:
    parts = {"num_processes": found.count, "process_id": found.index, "coordinator": found.coordinator}
    for name, value in parts.items():
        if value is None:
            where = "" if found.source == "distributed.*" else f", and {found.source} does not tell it"
            hint = "coordinator=HOST:PORT of process 0, num_processes=N and process_id=0…N-1 belong together"
            raise ConfigError(f"distributed.{name}", f"is required{where}", hint=hint)
    assert found.count is not None
    assert found.index is not None
    if found.index >= found.count:
        problem = f"{found.index} is not one of {found.count} processes"
        raise ConfigError("distributed.process_id", problem, allowed=f"0 to {found.count - 1}")
    address = re.fullmatch(r"\[?[\w.:-]+\]?:(\d{1,5})", found.coordinator or "")
    if address is None or not 1 <= int(address[1]) <= 65535:
        raise ConfigError("distributed.coordinator", f"{found.coordinator!r} is not allowed", allowed=_ADDRESS)
    return found


def launched(environ: Mapping[str, str]) -> Coordinates | None:
    """What `bigtrain launch` says."""
    if not all(name in environ for name in _GIVEN.values()):
        return None
    count, index = _number(environ, _GIVEN["num_processes"]), _number(environ, _GIVEN["process_id"])
    return Coordinates("bigtrain launch", environ[_GIVEN["coordinator"]], count, index, (index, count))


def told(coordinator: str, count: int, index: int) -> dict[str, str]:
    """The environment from which `launched` reads these coordinates."""
    return dict(zip(_GIVEN.values(), (coordinator, str(count), str(index)), strict=True))


def rank(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Which process this seems to be before its config is understood: decides who reports a mistake in it."""
    typed = [text.partition("=")[2] for text in arguments if text.lstrip("+").startswith("distributed.process_id=")]
    named = [environ[name] for name in _RANKS if name in environ]
    return next((int(text) for text in [*typed, *named] if _NUMBER.fullmatch(text)), 0)


def _cluster(cfg: DistributedConfig, environ: Mapping[str, str]) -> Coordinates | None:
    """In JAX's own order: Open MPI may run under Slurm, and Cloud TPU under Kubernetes."""
    for find in (open_mpi, slurm, cloud_tpu):
        if (found := find(environ)) is not None:
            return found
    return kubernetes(cfg, environ)


def open_mpi(environ: Mapping[str, str]) -> Coordinates | None:
    """A process that `mpirun` started; version 5 no longer says where it was started from."""
    if "OMPI_COMM_WORLD_SIZE" not in environ or "OMPI_COMM_WORLD_RANK" not in environ:
        return None
    count, index = _number(environ, "OMPI_COMM_WORLD_SIZE"), _number(environ, "OMPI_COMM_WORLD_RANK")
    local = _local(environ, "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")
    uri = environ.get("OMPI_MCA_orte_hnp_uri")
    coordinator = None
    if uri is not None and (host := re.search(r"tcp://(.+?)[,:]|tcp6://\[(.+?)[,\]]", uri)) is not None:
        job = uri.split(".", 1)[0]  # a multiple of 2^12
        coordinator = f"{host[1] or host[2]}:{_port(int(job) // PORTS if _NUMBER.fullmatch(job) else _hash(job))}"
    elif local is not None and local[1] == count:
        job = environ.get("PMIX_NAMESPACE") or environ.get("PRTE_LAUNCHED") or str(os.getppid())
        coordinator = f"127.0.0.1:{_port(_hash(job))}"
    return Coordinates("Open MPI", coordinator, count, index, local)


def slurm(environ: Mapping[str, str]) -> Coordinates | None:
    """A task of a job step, which `srun` started; the script of `sbatch` itself is none."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if not all(name in environ for name in names):
        return None
    first = re.match(r"([^,\[]+)(?:\[(\w+))?", environ["SLURM_STEP_NODELIST"])
    host = "".join(part or "" for part in first.groups()) if first else None
    count = _number(environ, "SLURM_STEP_NUM_TASKS" if environ.get("SLURM_STEP_NUM_TASKS") else "SLURM_NTASKS")
    chosen = bool(environ.get("JAX_COORDINATOR_PORT"))
    port = _number(environ, "JAX_COORDINATOR_PORT") if chosen else _port(_number(environ, "SLURM_JOB_ID"))
    on_nodes = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE") or ""
    even = re.fullmatch(r"(\d+)(?:\(x\d+\))?", on_nodes)  # "4(x2)": four on each of two nodes
    local = (_number(environ, "SLURM_LOCALID"), int(even[1])) if even else None
    return Coordinates("Slurm", f"{host}:{port}" if host else None, count, _number(environ, "SLURM_PROCID"), local)


def cloud_tpu(environ: Mapping[str, str]) -> Coordinates | None:
    """A host of a TPU slice, or of several: from GKE's variables, or from the virtual machine's metadata."""
    if environ.get("JAX_PLATFORMS", "tpu").split(",")[0] != "tpu" or importlib.util.find_spec("libtpu") is None:
        return None
    if "TPU_WORKER_HOSTNAMES" in environ and "TPU_WORKER_ID" in environ:
        hosts = environ["TPU_WORKER_HOSTNAMES"].split(",")
        slices = _number(environ, "MEGASCALE_NUM_SLICES") if environ.get("MEGASCALE_NUM_SLICES") else 1
        number = _number(environ, "MEGASCALE_SLICE_ID") if environ.get("MEGASCALE_SLICE_ID") else 0
        address = (environ.get("MEGASCALE_COORDINATOR_ADDRESS") or hosts[0]).split(":")[0]
        index = _number(environ, "TPU_WORKER_ID") + number * len(hosts)
        return Coordinates("Cloud TPU", f"{address}:{TPU_PORT}", len(hosts) * slices, index)
    if "TPU_SKIP_MDS_QUERY" in environ or not any(map(Path.exists, (Path("/dev/accel0"), Path("/dev/vfio/0")))):
        return None
    from jax._src.clusters import GceTpuCluster  # asks the metadata server

    return _asked("Cloud TPU", GceTpuCluster) if GceTpuCluster.is_env_present() else None


def kubernetes(cfg: DistributedConfig, environ: Mapping[str, str]) -> Coordinates | None:
    """A pod of an indexed Job, alone or in a JobSet; any other pod is a process by itself."""
    if "KUBERNETES_SERVICE_HOST" not in environ or "JOB_COMPLETION_INDEX" not in environ:
        return None
    index = _number(environ, "JOB_COMPLETION_INDEX")
    if cfg.coordinator is not None and cfg.num_processes is not None:
        return Coordinates("Kubernetes", index=index)
    if importlib.util.find_spec("kubernetes") is None:
        problem = "this is a pod of an indexed Job, whose size can't be asked for without a package"
        hint = (
            "distributed.num_processes=1 makes each pod a run by itself; for one run of all: "
            "pip install kubernetes, or give distributed.coordinator and distributed.num_processes"
        )
        raise ConfigError("distributed.num_processes", problem, hint=hint)
    from jax._src.clusters import K8sCluster

    return replace(_asked("Kubernetes", K8sCluster), index=index) if K8sCluster.is_env_present() else None


def _asked(source: str, cluster: Any) -> Coordinates:
    """What one of JAX's own classes for clusters finds out."""
    ask: Callable[..., str] = cluster.get_coordinator_address
    try:
        address = ask(timeout_secs=300, override_coordinator_port=None)
        return Coordinates(source, address, cluster.get_process_count(), cluster.get_process_id())
    except Exception as error:  # of a network, or of missing permissions: what it says is for the person
        reason = " ".join(str(error).split())[:300]
        hint = "give distributed.coordinator, distributed.num_processes and distributed.process_id"
        raise ConfigError("distributed.coordinator", f"{source} could not be asked: {reason}", hint=hint) from error


def share_of_devices(local: tuple[int, int] | None, environ: Mapping[str, str]) -> list[int] | None:
    """Which of the GPUs that this process sees are its own, where processes of one host see all of them."""
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    visible = (
        len([name for name in listed.split(",") if name]) if listed else len(list(Path("/dev").glob("nvidia[0-9]*")))
    )
    if local is None or local[1] < 2 or visible < local[1] or visible % local[1]:
        return None
    each = visible // local[1]
    return list(range(local[0] * each, (local[0] + 1) * each))


def _local(environ: Mapping[str, str], index: str, count: str) -> tuple[int, int] | None:
    return (_number(environ, index), _number(environ, count)) if index in environ and count in environ else None


def _number(environ: Mapping[str, str], name: str) -> int:
    """A variable that holds a whole number, at least 0."""
    text = environ[name].strip()
    if not _NUMBER.fullmatch(text):
        problem = f"the environment variable {name} is {environ[name]!r}"
        hint = "distributed.num_processes=1 makes this a run by itself, whatever the environment says"
        raise ConfigError("distributed", problem, allowed="a whole number, 0 or more", hint=hint)
    return int(text)


def _port(job: int) -> int:
    return LOWEST_PORT + job % PORTS


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())
