"""Scores of a trained model on a split."""

from __future__ import annotations

import dataclasses

import jax

from bigtrain.data.spec import Dataset, Split
from bigtrain.inference.load import Trained
from bigtrain.inference.translate import translated
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.rules import Rules
from bigtrain.train.corpus import Writer, writes
from bigtrain.train.evaluate import Scorer
from bigtrain.train.prepare import batching_for
from bigtrain.train.program import compile_evaluation


def score(trained: Trained, dataset: Dataset, split: Split) -> dict[str, float]:
    """The mean of the loss and of every metric over a split, on the run's mesh; and the scores of texts as a whole.

    The data may be stored in another type than the run's, and may number its classes or symbols otherwise.
    """
    dataset = translated(trained.spec, dataset)
    definition = dataclasses.replace(trained.definition, spec=dataset.spec)
    run = trained.checked.run
    meshes.simulate(run.mesh)
    rules = Rules.of(meshes.make(run.mesh), run.mesh)
    batching = batching_for(run, dataset, rules, len(dataset.splits[split]))
    state = jax.device_put(trained.state, rules.sharding())
    program = compile_evaluation(definition, rules, trained.numbers, state, batching.abstract())
    found = Scorer(program, batching, dataset.splits[split], program.numbers(trained.numbers))(state)
    if not writes(trained.task):
        return found
    writer = Writer(definition, program.recipe, trained.numbers, rules, batching.batch_size)
    return found | writer.scores(state, dataset.splits[split])
