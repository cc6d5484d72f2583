"""Run directories that a stranger made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from attack import SECRET, Attack, Place

from bigtrain.cli.fit import understood
from bigtrain.config.compose import to_yaml
from bigtrain.data.digits import digits
from bigtrain.data.serialize import spec_to_json

INPUT = "new.npy"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
"""A billion laughs: nine lines of YAML that are 10^9 items to whoever walks through them."""

DEEP = 100_000  # brackets in brackets


def plain(place: Place) -> Path:
    """A run directory that looks whole until its arrays are wanted, made without training."""
    composed, _, _ = understood(["model.widths=[8]", "run_dir=came"], None, [])
    run = place.came
    (run / "config.yaml").write_text(to_yaml(composed.written))
    (run / "overrides.json").write_text('["model.widths=[8]", "run_dir=came"]')
    (run / "spec.json").write_text(spec_to_json(digits().spec))
    (run / "environment.json").write_text("{}")
    (run / "checkpoints" / "5").mkdir(parents=True)
    (run / "checkpoints" / "5.json").write_text('{"step": 5}')
    np.save(place.work / INPUT, np.zeros((1, 8, 8), np.uint8))
    return run


PREDICT = ("predict", "came", "--input", INPUT, "--output", "out.csv")
EVALUATE = ("evaluate", "came")
SAMPLE = ("sample", "came")
CONTINUE = ("fit", "run_dir=came")


def _with(change: Callable[[Path, Place], None], words: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        change(plain(place), place)
        return words

    return make


def _config(path: str, value: Any, words: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    """A config in which one key has another value."""

    def change(run: Path, place: Place) -> None:
        values = yaml.safe_load((run / "config.yaml").read_text())
        *parts, last = path.split(".")
        at = values
        for part in parts:
            at = at.setdefault(part, {})
        at[last] = value(place) if callable(value) else value
        (run / "config.yaml").write_text(yaml.safe_dump(values))

    return _with(change, words)


def _spec(path: str, value: Any) -> Callable[[Place], Sequence[str]]:
    def change(run: Path, place: Place) -> None:
        values = json.loads((run / "spec.json").read_text())
        *parts, last = path.split(".")
        at = values
        for part in parts:
            at = at[part]
        at[last] = value
        (run / "spec.json").write_text(json.dumps(values))

    return _with(change, PREDICT)


def _text(name: str, text: str, words: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    return _with(lambda run, place: _write(run / name, text), words)


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _overrides(*texts: str) -> Callable[[Place], Sequence[str]]:
    return _text("overrides.json", json.dumps(["model.widths=[8]", *texts]), CONTINUE)


def _link(name: str, words: Sequence[str], to: str = "secret.txt") -> Callable[[Place], Sequence[str]]:
    def change(run: Path, place: Place) -> None:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(place.outside / to)

    return _with(change, words)


def _pipe(name: str, words: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    def change(run: Path, place: Place) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return _with(change, words)


def package(place: Place) -> None:
    """A package that leaves a mark when it is imported, where a person would run the command."""
    (place.work / "evil_pkg.py").write_text(
        f"open({str(place.canary)!r}, 'w').close()\nfrom bigtrain.models.mlp import MLP\n"
    )


def _evil(words: Sequence[str], *texts: str) -> Callable[[Place], Sequence[str]]:
    def change(run: Path, place: Place) -> None:
        package(place)
        if texts:
            (run / "overrides.json").write_text(json.dumps(["model.widths=[8]", *texts]))
        values = yaml.safe_load((run / "config.yaml").read_text())
        values["plugins"], values["model"] = ["evil_pkg"], {"_target_": "evil_pkg.MLP", "widths": [8]}
        (run / "config.yaml").write_text(yaml.safe_dump(values))

    return _with(change, words)


def _target(target: str, group: str = "model", words: Sequence[str] = PREDICT, **fields: Any) -> Any:
    def value(place: Place) -> Any:
        return {"_target_": target, **{name: item.format(place=place) for name, item in fields.items()}}

    return _config(group, value, words)


TARGETS = [
    Attack("a target that runs a command", _target("os.system", command="touch {place.canary}"), "may not be built"),
    Attack("a target through an alias", _target("bigtrain.cli.launch.subprocess.run", args="x"), "_target_"),
    Attack("a target that deletes", _target("flax.io.rmtree", path="{place.outside}"), "can't be used here"),
    Attack("a target that writes", _target("bigtrain.run.directory.RunDirectory", path="{place.canary}"), "can't be"),
    Attack("a target that starts the program", _target("bigtrain.__main__.main"), "may not be built"),
    Attack("a target that evaluates", _target("builtins.eval", source="1"), "may not be built"),
    Attack("a target with a path in it", _target("bigtrain/../evil_pkg.MLP"), "may not be built"),
    Attack("an unpickling target", _target("numpy.load", file="x", allow_pickle="1"), "may not be built"),
    Attack("a task that runs a command", _target("os.system", "task", command="x"), "may not be built"),
    Attack("an optimizer that deletes", _target("flax.io.remove", "optimizer", path="x"), "can't be used here"),
    Attack("data that runs a command", _target("subprocess.getoutput", "data", EVALUATE, cmd="x"), "may not be built"),
    Attack("data that is a bare container", _target("bigtrain.data.spec.Dataset", "data", EVALUATE), "data"),
    Attack("a target of a package that it brings", _evil(PREDICT), "'evil_pkg.MLP' may not be built"),
    Attack("plugins in the stored overrides", _evil(CONTINUE, "plugins=[evil_pkg]"), "another config"),
    Attack("plugins behind a blank", _evil(CONTINUE, " plugins=[evil_pkg]"), "names no key"),
    Attack("plugins with a plus", _evil(CONTINUE, "++plugins=[evil_pkg]"), "another config"),
    Attack("plugins and a target", _evil(CONTINUE, "plugins=[evil_pkg]", "model._target_=evil_pkg.MLP"), "may not be"),
]  # fmt: skip

CONFIGS = [
    Attack("the environment in a config", _config("seed", "${oc.env:CANARY}", PREDICT), "is not expanded"),
    Attack("the environment in a list", _config("freeze", ["${oc.env:CANARY}"], PREDICT), "is not expanded"),
    Attack("the environment in a key", _config("model.${oc.env:CANARY}", 1, PREDICT), "model.${oc"),
    Attack("the environment in the data", _config("data.path", "${oc.env:CANARY}", EVALUATE), "is not expanded"),
    Attack("the environment in an override", _overrides("seed=${oc.env:CANARY}"), "is not expanded"),
    Attack("a function in an override", _overrides("seed=${oc.decode:${oc.env:CANARY}}"), "is not expanded"),
    Attack("Hydra's settings in an override", _overrides("hydra.run.dir=/tmp/x"), "Hydra's own settings"),
    Attack("a search path in an override", _overrides("hydra.searchpath=[file:///tmp]"), "Hydra's own settings"),
    Attack("overrides that are no list", _text("overrides.json", '{"a": 1}', CONTINUE), "overrides.json"),
    Attack("overrides that are no texts", _text("overrides.json", '[1, {"a": 2}]', CONTINUE), "overrides.json"),
    Attack("a billion laughs", _text("config.yaml", BOMB, PREDICT), "config.yaml"),
    Attack("a billion laughs to continue", _text("config.yaml", BOMB, CONTINUE), "config.yaml"),
    Attack("YAML that contains itself", _text("config.yaml", "model: &a\n  widths: *a\n", PREDICT), "config.yaml"),
    Attack("a Python object in YAML", _text("config.yaml", "model: !!python/object/apply:os.system ['x']", PREDICT),
           "config.yaml"),
    Attack("deep YAML", _text("config.yaml", "model: " + "[" * 5000 + "]" * 5000, PREDICT), "config.yaml"),
    Attack("a number of 5,000 digits", _text("config.yaml", "seed: " + "9" * 5000, PREDICT), "config.yaml"),
    Attack("a date that there isn't", _text("config.yaml", "seed: 2001-99-99", PREDICT), "config.yaml"),
    Attack("a large config", _text("config.yaml", "# " + "x" * (9 << 20), PREDICT), "config.yaml"),
    Attack("keys that are no texts", _text("config.yaml", "1: 2\n? [1, 2]\n: 3\n", PREDICT), "config.yaml"),
    Attack("a terminal's commands in a key", _config("\x1b]0;evil\x07\x1b[2J", 1, PREDICT), "has no such key"),
    Attack("a device as data", _config("data", {"_target_": "bigtrain.data.text.text", "path": "/dev/zero"}, EVALUATE),
           "/dev/zero"),
]  # fmt: skip

SPECS = [
    Attack("an endless shape", _spec("fields.inputs.shape", [2**40, 2**40]), "spec.json"),
    Attack("a shape below zero", _spec("fields.inputs.shape", [-1, 8]), "spec.json"),
    Attack("a type of objects", _spec("fields.inputs.dtype", "O"), "spec.json"),
    Attack("a type that is a program", _spec("fields.inputs.dtype", "f4,(9999999999,)f4"), "spec.json"),
    Attack("an unknown reader", _spec("reader", {"kind": "os.system", "settings": {}}), "spec.json"),
    Attack("a deep spec", _text("spec.json", "[" * DEEP + "]" * DEEP, PREDICT), "spec.json"),
    Attack("a spec that is a list", _text("spec.json", "[]", PREDICT), "spec.json"),
    Attack("a spec of no JSON", _text("spec.json", SECRET[:0] + "{'a'", PREDICT), "spec.json"),
    Attack("a result of no shape", _text("result.json", '{"steps": 5, "stopped_early": [1], "test": 3}', CONTINUE),
           "result.json"),
    Attack("a deep result", _text("result.json", "[" * DEEP, CONTINUE), "result.json"),
]  # fmt: skip

LINKS = [
    Attack("a config that is a link", _link("config.yaml", PREDICT), "link"),
    Attack("a spec that is a link", _link("spec.json", PREDICT), "link"),
    Attack("overrides that are a link", _link("overrides.json", CONTINUE), "link"),
    Attack("a result that is a link", _link("result.json", CONTINUE), "link"),
    Attack("metrics that are a link", _link("metrics.jsonl", CONTINUE), "link"),
    Attack("checkpoints that are a link", _link("checkpoints", CONTINUE, "."), "link"),
    Attack("checkpoints to evaluate that are a link", _link("checkpoints", EVALUATE, "."), "link"),
    Attack("samples that are a link", _link("samples", SAMPLE, "."), "link"),
    Attack("a link in a checkpoint", _link("checkpoints/5/d", PREDICT, "."), "link"),
    Attack("TensorBoard's folder as a link", _link("tensorboard", CONTINUE, "."), "link"),
    Attack("a spec that is a pipe", _pipe("spec.json", PREDICT), "spec.json"),
    Attack("overrides that are a pipe", _pipe("overrides.json", CONTINUE), "overrides.json"),
    Attack("metrics that are a pipe", _pipe("metrics.jsonl", CONTINUE), "metrics.jsonl"),
]

RUNS = [*TARGETS, *CONFIGS, *SPECS, *LINKS]
