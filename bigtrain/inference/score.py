"""Scores of a trained model on a split."""

from __future__ import annotations

import dataclasses

import jax

from bigtrain.config.errors import ConfigError
from bigtrain.config.schema import MeshConfig
from bigtrain.data.spec import Dataset, Split
from bigtrain.inference.load import Trained
from bigtrain.inference.translate import translated
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.rules import Rules
from bigtrain.train.corpus import Writer, writes
from bigtrain.train.evaluate import Scorer
from bigtrain.train.prepare import batching_for
from bigtrain.train.program import compile_evaluation


def rules_for(asked: MeshConfig, *, typed: bool) -> tuple[Rules, str | None]:
    """The mesh to evaluate on: what the run was trained on, if it can be had here.

    Args:
        asked: the run's mesh, with what was typed.
        typed: whether anything of it was; then it has to be that one.

    Returns:
        The rules, and a note where other devices are used, those at hand, which share the batch.

    Raises:
        ConfigError: there is no such mesh here, and it was typed; or its rules are wrong.
    """
    meshes.simulate(asked)  # before anything asks JAX for its devices
    try:
        mesh, used, problem = meshes.make(asked), asked, None
    except ConfigError as error:
        if typed or not error.path.startswith("mesh."):  # JAX's own settings have other paths
            raise
        used = MeshConfig(data=-1, rules={"batch": "data"})
        mesh = meshes.make(used)
        here = f"{mesh.size} device{'s' * (mesh.size > 1)} of this machine"
        problem = f"{error.path}: {error.problem}; evaluated on {here}"
    return Rules.of(mesh, used), problem


def score(trained: Trained, dataset: Dataset, split: Split, rules: Rules) -> dict[str, float]:
    """The mean of the loss and of every metric over a split, on a mesh; and the scores of texts as a whole.

    The data may be stored in another type than the run's, and may number its classes or symbols otherwise.
    """
    dataset = translated(trained.spec, dataset)
    definition = dataclasses.replace(trained.definition, spec=dataset.spec)
    run = trained.checked.run
    batching = batching_for(run, dataset, rules, len(dataset.splits[split]))
    program = compile_evaluation(definition, rules, trained.numbers, trained.state, batching.abstract())
    state = jax.device_put(trained.state, jax.tree.map(lambda leaf: leaf.sharding, program.abstract))
    found = Scorer(program, batching, dataset.splits[split], program.numbers(trained.numbers))(state)
    if not writes(trained.task):
        return found
    writer = Writer(definition, program.recipe, trained.numbers, rules, batching.batch_size)
    return found | writer.scores(state, dataset.splits[split])
