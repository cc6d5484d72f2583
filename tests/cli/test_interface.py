"""What scripts rely on: verbs, options, config keys, what `--help` loads, and what stands on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import bigtrain, typed

from bigtrain.config import groups, signature
from bigtrain.config.suggest import spine_paths

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "numpy", "scipy", "matplotlib", "hydra", "omegaconf", "PIL")

INTERFACE = {
    "fit": ["--cfg", "--config-dir", "--dry-run", "--json", "--multirun", "--trust", "-m", "overrides"],
    "launch": [
        "--cfg", "--checkpoint", "--config-dir", "--devices-per-process", "--dry-run", "--json", "--logs",
        "--processes", "--steps", "--trust", "-n", "overrides", "verb",
    ],
    "plan": ["--config-dir", "--json", "--search", "--trust", "overrides"],
    "evaluate": ["--checkpoint", "--json", "--split", "--trust", "overrides", "run"],
    "verify": ["--checkpoint", "--json", "--steps", "--trust", "run"],
    "predict": ["--checkpoint", "--input", "--json", "--output", "--trust", "run"],
    "sample": [
        "--checkpoint", "--json", "--length", "--number", "--output", "--prompt", "--prompt-file", "--seed",
        "--temperature", "--top-k", "--top-p", "--trust", "-n", "run",
    ],
    "data inspect": ["--config-dir", "--json", "--output", "--trust", "name", "overrides"],
    "data tokenize": [
        "--encoding", "--json", "--method", "--output", "--tokenizer", "--vocabulary", "files",
    ],
    "runs list": ["--json", "--metric", "--sort", "directory"],
    "runs compare": ["--json", "paths"],
    "runs best": ["--json", "--metric", "--mode", "directory"],
    "configs": ["--config-dir", "--json", "group", "name"],
    "completion": ["shell"],
}  # fmt: skip
"""Frozen: taking one away, or renaming it, breaks somebody's script. A new one is added here too."""

KEYS = (
    "seed", "steps", "batch_size", "run_dir", "eval_every", "log_every", "checkpoint.every", "checkpoint.keep",
    "checkpoint.keep_every", "checkpoint.minutes",
    "optimizer.learning_rate", "model.widths", "model.cell", "model.dropout", "data.dir", "data.path", "mesh.data",
    "precision", "plan.check", "plan.price", "sweep.trials", "sweep.parallel", "sweep.startup", "sweep.seed",
    "sweep.population", "sweep.eta", "sweep.rungs", "sweep.brackets", "sweep.members", "sweep.rounds", "sweep.quantile",
    "sweep.perturb", "sweep.resample",
)  # fmt: skip


def _interface() -> dict[str, list[str]]:
    import typer

    from bigtrain.cli.app import app

    commands = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for name in [name for name, verb in commands.items() if hasattr(verb, "commands")]:  # a group of verbs
        commands |= {f"{name} {under}": verb for under, verb in commands.pop(name).commands.items()}
    return {name: sorted(option for param in verb.params for option in param.opts) for name, verb in commands.items()}


def test_verbs_and_options_are_frozen() -> None:
    assert _interface() == INTERFACE


@pytest.mark.parametrize("key", KEYS)
def test_config_keys_are_frozen(key: str) -> None:
    group, _, field = key.partition(".")
    choices = groups.groups(groups.search_dirs()).get(group, {})
    assert key in spine_paths() or any(field in callee.parameters for _, callee in groups.callees(group, choices))


def test_help_loads_nothing_heavy() -> None:
    """In one process: what one verb's help loaded would be seen at the next."""
    script = (
        "import sys\nfrom bigtrain.cli import main\n"
        "for verb in sys.argv[1].split(','):\n"
        "    sys.argv[1:] = [*verb.split(), '--help']\n"
        "    assert main() == 0, verb\n"
        f"    loaded = {{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r})\n"
        "    assert not loaded, (verb, loaded)\n"
    )
    command = [sys.executable, "-c", script, ",".join(["", *INTERFACE])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    for verb in INTERFACE:
        assert f"bigtrain {verb} [OPTIONS]" in done.stdout


@pytest.mark.parametrize("verb", INTERFACE)
def test_help_of_a_verb_says_what_it_is(verb: str) -> None:
    done = bigtrain(*verb.split(), "-h")
    assert (done.code, done.err) == (0, "")
    assert all(option in done.out for option in INTERFACE[verb] if option.startswith("--"))


def test_no_arguments_print_the_help() -> None:
    done = bigtrain()
    assert (done.code, done.err) == (0, "")
    assert "Start with: bigtrain fit" in done.out


def test_version() -> None:
    assert typed("--version").out.startswith("bigtrain ")


def test_fit_json(workdir: Path) -> None:
    done = typed("fit steps=3 batch_size=16 run_dir=r logger=jsonl model.widths=[4] --json")
    assert done.code == 0
    found = json.loads(done.out)
    assert {"run_dir", "steps", "validation", "test", "best", "parameters", "seconds"} <= set(found)
    assert {"loss", "accuracy"} <= set(found["test"])
    assert json.loads((workdir / "r" / "result.json").read_text()) == found


def test_fit_dry_run_json_writes_nothing(workdir: Path) -> None:
    done = typed("fit steps=3 --dry-run --json")
    assert json.loads(done.out)["steps"] == 3
    assert not list(workdir.iterdir())


def test_fit_cfg_is_yaml() -> None:
    import yaml

    done = typed("fit --cfg model.widths=[3]")
    assert yaml.safe_load(done.out)["model"]["widths"] == [3]
    assert done.err == ""


def test_results_on_stdout_and_the_rest_on_stderr(workdir: Path) -> None:
    done = typed("fit steps=3 batch_size=16 run_dir=r logger=jsonl model.widths=[4]")
    rows = [line for line in done.out.splitlines() if not line.startswith(" ")]  # the times may take a second line
    assert [line.split()[0] for line in rows] == [
        "validation",
        "test",
        "best",
        "time",
        "speed",
        "files",
        "next",
    ]
    assert "model " in done.err
    assert "MLP: " in done.err


def test_evaluate_json(trained: Path) -> None:
    found = json.loads(typed(f"evaluate {trained} --json").out)
    assert {"loss", "accuracy", "split", "checkpoint", "examples", "run_dir"} <= set(found)
    assert (found["split"], found["checkpoint"]) == ("test", 3)
    result = json.loads((trained / "result.json").read_text())
    assert found["loss"] == pytest.approx(result["test"]["loss"], rel=1e-6)
    best = json.loads(typed(f"evaluate {trained} --json --split validation --checkpoint best eval_batch_size=50").out)
    assert best["loss"] == pytest.approx(result["validation"]["loss"], rel=1e-5)


def test_evaluate_text(trained: Path) -> None:
    done = typed(f"evaluate {trained} --split train")
    assert done.out.startswith("train       loss ")
    assert done.err == "checkpoint of step 3\n"


def test_evaluate_json_of_a_vae(trained_vae: Path) -> None:
    found = json.loads(typed(f"evaluate {trained_vae} --json").out)
    assert {"loss", "elbo", "reconstruction", "kl"} <= set(found)


def test_predict_json(trained: Path, workdir: Path) -> None:
    np.save("x.npy", np.zeros((5, 8, 8), np.uint8))
    found = json.loads(typed(f"predict {trained} --input x.npy --output y.npz --json").out)
    assert (found["examples"], found["checkpoint"]) == (5, 3)
    assert found["arrays"] == {"label": [5], "probability": [5, 10], "classes": [10]}
    assert set(np.load("y.npz").files) == {"label", "probability", "classes"}


def test_sample_json(trained_vae: Path, trained_text: Path, workdir: Path) -> None:
    images = json.loads(typed(f"sample {trained_vae} -n 3 --output s.npy --json").out)
    assert images == {"output": "s.npy", "shape": [3, 8, 8]}
    texts = json.loads(typed(f"sample {trained_text} -n 2 --length 7 --json").out)
    assert texts["output"] is None
    assert [len(text) for text in texts["samples"]] == [8, 8]  # one random token to begin with, and seven new ones


def test_configs_json() -> None:
    assert "mlp" in json.loads(typed("configs --json").out)["model"]
    fields = json.loads(typed("configs model mlp --json").out)["fields"]
    assert [row["key"] for row in fields] == [
        f"model.{name}" for name in signature.read("bigtrain.models.mlp.MLP").parameters if name not in ("spec", "rngs")
    ]
    assert "checkpoint.every" in [row["key"] for row in json.loads(typed("configs run --json").out)["fields"]]


@pytest.mark.parametrize("group", sorted(groups.groups(groups.search_dirs())))
def test_every_choice_can_be_shown(group: str) -> None:
    for name in groups.groups(groups.search_dirs())[group]:
        done = typed(f"configs {group} {name}")
        assert (done.code, done.err) == (0, "")
        assert f"{group}={name}" in done.out
