"""The examples for clusters: they parse, hold what their systems ask for, and their commands are runs of bigtrain."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bigtrain.cli.fit import understood
from bigtrain.config.schema import RunConfig
from bigtrain.parallel.cluster import coordinates

EXAMPLES = Path(__file__).parent.parent / "examples"
SLURM, JOBSET = EXAMPLES / "slurm" / "train.sbatch", EXAMPLES / "kubernetes" / "jobset.yaml"
SKYPILOT, TPU_POD = EXAMPLES / "skypilot" / "train.yaml", EXAMPLES / "tpu_pod" / "train.sh"


def shell(script: str, **variables: str) -> str:
    """What bash writes for a script in which other programs are only named."""
    done = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def composed(words: list[str]) -> RunConfig:
    """The run of a command line that starts with `bigtrain fit`."""
    assert words[:2] == ["bigtrain", "fit"]
    return understood(words[2:], None, [])[1].run


def test_every_example_opens_with_its_command() -> None:
    files = [path for path in EXAMPLES.rglob("*") if path.is_file()]
    assert set(files) == {SLURM, JOBSET, SKYPILOT, TPU_POD}
    for path in files:
        head = path.read_text().split("\n\n")[0]
        assert str(path.relative_to(EXAMPLES.parent)) in head, path


@pytest.mark.parametrize("path", [SLURM, TPU_POD], ids=lambda path: path.name)
def test_scripts_are_bash(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_slurm_script() -> None:
    text = SLURM.read_text()
    options = dict(
        line.removeprefix("#SBATCH --").split("=", 1) for line in re.findall(r"^#SBATCH --\S+=.*", text, re.M)
    )
    assert options["ntasks-per-node"] == options["gpus-per-node"], "one process a GPU"
    assert options["signal"].startswith("TERM@"), "the signal that bigtrain saves on, to the job's steps"
    fakes = (
        'source() { :; }; srun() { shift; printf "%q " "$@"; return 143; }; scontrol() { echo; echo "scontrol $*"; }\n'
    )
    body = fakes + text.replace('exit "$code"', 'echo "exit $code"')
    out = shell(body, HOME="/home/me", SLURM_JOB_ID="77", PATH="/usr/bin:/bin").splitlines()
    run = composed(shlex.split(out[0]))
    assert run.run_dir == "/home/me/runs/77"
    assert out[1:] == ["scontrol requeue 77", "exit 143"]


def test_the_jobset() -> None:
    made: dict[str, Any] = yaml.safe_load(JOBSET.read_text())
    assert (made["apiVersion"], made["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (replicated,) = made["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert job["completionMode"] == "Indexed", "gives each pod its JOB_COMPLETION_INDEX"
    assert job["parallelism"] == job["completions"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    run = composed(container["command"])
    names = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == names
    assert any(run.run_dir.startswith(mount["mountPath"]) for mount in container["volumeMounts"]), "on the shared disk"
    last = job["parallelism"] - 1
    found = coordinates(run.distributed, {"KUBERNETES_SERVICE_HOST": "x", "JOB_COMPLETION_INDEX": str(last)})
    assert found is not None
    assert (found.source, found.count, found.index) == ("Kubernetes", job["parallelism"], last)
    name = made["metadata"]["name"]
    host, port = str(found.coordinator).split(":")
    assert host == f"{name}-{replicated['name']}-0-0.{name}", "the name that JobSet gives to the first pod"
    assert int(port) in [entry["containerPort"] for entry in container["ports"]]


def test_the_skypilot_task() -> None:
    made: dict[str, Any] = yaml.safe_load(SKYPILOT.read_text())
    assert {"name", "resources", "num_nodes", "setup", "run"} <= made.keys()
    nodes = {"SKYPILOT_NODE_IPS": "10.0.0.5\n10.0.0.6", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
    out = shell('bigtrain() { printf "%q " bigtrain "$@"; }\n' + made["run"], **nodes, PATH="/usr/bin:/bin")
    run = composed(shlex.split(out))
    found = coordinates(run.distributed, {})
    assert found is not None
    assert (found.coordinator, found.count, found.index) == ("10.0.0.5:8476", 2, 1)
    assert run.mesh.data == 2
    assert any(run.run_dir.startswith(mount) for mount in made["file_mounts"])


def test_the_command_for_a_tpu_pod() -> None:
    out = shell(TPU_POD.read_text(), DRY_RUN="1", TPU="my-v5e-64", PATH="/usr/bin:/bin").splitlines()
    assert all("gcloud compute tpus tpu-vm ssh my-v5e-64 --zone=us-west4-a --worker=all" in line for line in out)
    run = composed(shlex.split(out[1].partition("&& ")[2]))
    assert run.run_dir == "/runs/gpt2"
