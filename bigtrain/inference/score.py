"""Scores of a trained model on a split."""

from __future__ import annotations

import jax

from bigtrain.config.errors import ConfigError
from bigtrain.data.spec import Dataset, Split
from bigtrain.inference.load import Trained
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.rules import Rules
from bigtrain.train.evaluate import Scorer
from bigtrain.train.prepare import batching_for
from bigtrain.train.program import compile_evaluation


def score(trained: Trained, dataset: Dataset, split: Split) -> dict[str, float]:
    """The mean of the loss and of every metric over a split, on the run's mesh."""
    for name, field in trained.spec.fields.items():
        found = dataset.spec.fields.get(name)
        if found is None or (found.shape, found.kind) != (field.shape, field.kind):
            here = "no such field" if found is None else f"{found.kind} {list(found.shape)}"
            raise ConfigError(
                "data", f"{name}: the model was trained on {field.kind} {list(field.shape)}; here is {here}"
            )
    if len(dataset.spec.classes or ()) > len(trained.spec.classes or ()):
        problem = f"{len(dataset.spec.classes or ())} classes, and the model knows {len(trained.spec.classes or ())}"
        raise ConfigError("data", problem)
    run = trained.checked.run
    meshes.simulate(run.mesh)
    rules = Rules.checked(meshes.make(run.mesh), run.mesh.rules)
    batching = batching_for(run, dataset, rules, len(dataset.splits[split]))
    state = jax.device_put(trained.state, rules.sharding())
    program = compile_evaluation(trained.definition, rules, trained.numbers, state, batching.abstract())
    return Scorer(program, batching, dataset.splits[split], program.numbers(trained.numbers))(state)
