"""The compiled program of a run: `init`, `advance`, `evaluate`, from shapes alone.

Shapes first, then shardings, then executables; arrays come last. Everything that is only a number is an argument
(`numbers`), so another learning rate, dropout rate or seed runs the same executables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bigtrain.augment.augmentation import Augmentation
from bigtrain.config import numbers as config_numbers
from bigtrain.config.build import build
from bigtrain.config.check import Node
from bigtrain.config.trust import Trust
from bigtrain.data.placement import Feed, prepare, take
from bigtrain.data.spec import Spec
from bigtrain.metrics import Mean
from bigtrain.models.split import Parts, Recipe, split
from bigtrain.optim.chain import Chain
from bigtrain.parallel.arrays import put
from bigtrain.parallel.naming import placed_by
from bigtrain.parallel.rules import Rules
from bigtrain.tasks import Task
from bigtrain.train import finite, step, steps
from bigtrain.train.determinism import asking_cudnn
from bigtrain.train.rows import Log, Rows
from bigtrain.train.sharding import check_used, sharded, staying
from bigtrain.train.state import TrainState
from bigtrain.train.step import Batch, Metrics

Numbers = Mapping[str, Any]
AUGMENT_STREAM = 1 << 16  # far from what else is derived from the key of a step
PRECISIONS = {"f32": jnp.float32, "bf16": jnp.bfloat16}


@dataclass(frozen=True)
class Definition:
    """What a program computes, as pure functions of shapes: shared by everything that compiles or counts it."""

    model: Node
    task: Node
    chain: Chain
    spec: Spec
    trusted: Trust
    precision: str = "f32"
    accumulate: int = 1
    ema: bool = False
    augment: tuple[Node, ...] = ()
    skips: bool = False  # whether a step whose result is not finite is left out
    deterministic: bool = True  # also on a GPU

    def make_model(self, key: jax.Array) -> nnx.Module:
        """The model with fresh parameters."""
        made: nnx.Module = build(self.model, self.trusted, spec=self.spec, rngs=nnx.Rngs(key))
        return made

    def recipe(self) -> tuple[Recipe, Parts]:
        """The static side of the model, and its arrays as shapes."""
        return self._taken_apart

    @cached_property
    def _taken_apart(self) -> tuple[Recipe, Parts]:
        return split(nnx.eval_shape(lambda: self.make_model(jax.random.key(0))))

    def make_task(self, numbers: Numbers) -> Task:
        """The task, with its numbers filled in."""
        resolved = config_numbers.fill(self.task, numbers)
        made: Task = build(resolved, self.trusted, spec=self.spec, objective=self.objective)
        return made

    @property
    def refuses(self) -> bool:
        """Whether there are steps of which the update is left out."""
        return self.skips or self.chain.spikes

    @property
    def objective(self) -> str | None:
        """What the model says it is trained on, if it does."""
        found = self.model.callee.constants.get("objective")
        return str(found) if found else None

    def init(self, numbers: Numbers) -> TrainState:
        """The state before the first step; a function of the seed and of nothing else."""
        _, parts = split(self.make_model(_keys(numbers)[0]))
        opt_state = self.chain.transformation(numbers).init(parts.params)
        ema = dict(parts.params) if self.ema else {}
        return TrainState(jnp.zeros((), jnp.int32), parts.params, parts.rest, opt_state, ema)

    def advance(
        self, recipe: Recipe, capacity: int, state: TrainState, feed: Feed, number: jax.Array, numbers: Numbers
    ) -> tuple[TrainState, Metrics]:
        """`number` optimizer steps; the metric states of each step as arrays [capacity].

        A loop of a length known only at run time: the executable is the same for every number of steps, so where a run
        is cut into dispatches changes nothing, not even the last bit.
        """
        task, rule = self.make_task(numbers), self.chain.transformation(numbers)
        dtype = jnp.dtype(PRECISIONS[self.precision])
        gradient = step.mean_gradient(recipe, task, fields_of(recipe, numbers), dtype=dtype, accumulate=self.accumulate)
        key, ema = _keys(numbers)[1], numbers["ema"] if self.ema else None

        @partial(jax.jit, inline=True)  # traced once, for its shapes and for the loop
        def one(state: TrainState, at: jax.Array) -> tuple[TrainState, Metrics]:
            step_key = jax.random.fold_in(key, state.step)
            batch = self.batch(feed, at, step_key, numbers)
            rate = self.chain.learning_rate(numbers, state.step)
            after, metrics = step.update(state, gradient, rule, batch, step_key, ema)
            if self.refuses:
                most = numbers["skip_spikes"] if self.chain.spikes else None
                after, metrics = finite.guarded(state, after, metrics, nonfinite=self.skips, spikes=most)
            return after, {**metrics, "learning_rate": Mean(rate.astype(jnp.float32), jnp.ones((), jnp.float32))}

        rows = Rows(jax.eval_shape(one, state, jnp.int32(0))[1], capacity)

        def body(at: jax.Array, carry: tuple[TrainState, Log]) -> tuple[TrainState, Log]:
            state, log = carry
            state, metrics = one(state, jnp.int32(at))
            return staying(state, recipe), rows.written(log, at, metrics)

        state, log = steps.loop(number, steps.block(self.spec, state, feed), body, (state, rows.empty()))
        return state, rows.metrics(log)

    def batch(self, feed: Feed, at: jax.Array | int, key: jax.Array, numbers: Numbers) -> Batch:
        """Batch number `at` of a feed as a training step sees it; `key` is the step's."""
        return self.augmented(prepare(self.spec, take(feed, at)), key, numbers)

    def augmented(self, batch: Batch, key: jax.Array, numbers: Numbers) -> Batch:
        """A training batch after each of the run's augmentations, which draw from keys of their own."""
        for index, node in enumerate(self.augment):
            made: Augmentation = build(config_numbers.fill(node, numbers), self.trusted, spec=self.spec)
            batch = made.apply(batch, jax.random.fold_in(key, AUGMENT_STREAM + index))
        return batch

    def evaluate(
        self, recipe: Recipe, state: TrainState, feed: Feed, weights: jax.Array, number: jax.Array, numbers: Numbers
    ) -> Metrics:
        """The merged metric states of the first `number` batches of a feed; `weights` [S, B] is 0 for padding."""
        task, fields = self.make_task(numbers), fields_of(recipe, numbers)
        parts = state.evaluated()
        dtype = jnp.dtype(PRECISIONS[self.precision])
        parts = Parts(step.cast(parts.params, dtype), parts.rest)
        key = _keys(numbers)[2]

        @partial(jax.jit, inline=True)  # traced once, as above
        def one(at: jax.Array) -> Metrics:
            batch = {**prepare(self.spec, take(feed, at)), "weights": weights[at]}
            # the key depends on the batch alone, so two checkpoints are judged with the same noise
            loss, metrics, _ = step.elements(
                recipe, task, fields, parts, batch, jax.random.fold_in(key, at), training=False
            )
            return {"loss": loss, **metrics}

        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, jnp.int32(0)))
        return jax.lax.fori_loop(0, number, lambda at, sums: jax.tree.map(jnp.add, sums, one(jnp.int32(at))), zeros)


def _keys(numbers: Numbers) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The keys of initialisation, of training and of evaluation, from the seed."""
    init, train, evaluation = jax.random.split(jax.random.key(numbers["seed"]), 3)
    return init, train, evaluation


def training_key(numbers: Numbers, step: jax.Array) -> jax.Array:
    """The key of the training step from which the state after `step` steps goes on."""
    return jax.random.fold_in(_keys(numbers)[1], step)


def fields_of(recipe: Recipe, numbers: Numbers) -> dict[str, Any]:
    """The values of a model's hyperparameters, by the constructor's field."""
    return {field: numbers[f"model.{field}"] for field in recipe.fields}


@dataclass(frozen=True)
class Program:
    """A definition compiled for a mesh: executables, the abstract state with its shardings, and the numbers' values."""

    definition: Definition
    recipe: Recipe
    rules: Rules
    abstract: TrainState
    capacity: int
    executables: Mapping[str, Any]
    flops: float = 0.0  # of one optimizer step, on all devices together, without what is computed twice (remat)
    options: Mapping[str, bool | str] = field(default_factory=dict)  # what XLA was told when it compiled

    def init(self, numbers: Numbers) -> TrainState:
        """A fresh state, created already sharded."""
        state: TrainState = self.executables["init"](numbers)
        return state

    def advance(self, state: TrainState, feed: Feed, number: int, numbers: Numbers) -> tuple[TrainState, Metrics]:
        """`number` steps; the given state's memory is reused (donated), so it must not be used again."""
        result: tuple[TrainState, Metrics] = self.executables["advance"](state, feed, np.int32(number), numbers)
        return result

    def evaluate(self, state: TrainState, feed: Feed, weights: jax.Array, number: int, numbers: Numbers) -> Metrics:
        """Metric states of `number` evaluation batches."""
        result: Metrics = self.executables["evaluate"](state, feed, weights, np.int32(number), numbers)
        return result

    def numbers(self, values: Mapping[str, float]) -> dict[str, jax.Array]:
        """The numbers on the devices: once for a run, not once a dispatch."""
        sharding = self.rules.sharding()
        return {name: put(typed_number(name, value), sharding) for name, value in values.items()}


def typed_number(name: str, value: float) -> np.generic:
    """A number in the type that the program takes it in."""
    return np.uint32(int(value) & 0xFFFF_FFFF) if name == "seed" else np.float32(value)


def compile_evaluation(
    definition: Definition,
    rules: Rules,
    values: Mapping[str, float],
    state: TrainState,
    evaluation: tuple[Feed, jax.ShapeDtypeStruct],
) -> Program:
    """A program that only evaluates, for a state that exists already."""
    recipe, _ = definition.recipe()
    abstract = sharded(state, recipe, rules)
    with placed_by(rules) as named, asking_cudnn(definition.deterministic):
        evaluate = lower_evaluation(definition, recipe, rules, abstract, values, evaluation)
    check_used(rules, recipe, abstract, named)
    compiled = evaluate.compile()
    return Program(definition, recipe, rules, abstract, 0, {"evaluate": compiled})


def lower_evaluation(
    definition: Definition,
    recipe: Recipe,
    rules: Rules,
    state: TrainState,
    values: Mapping[str, float],
    evaluation: tuple[Feed, jax.ShapeDtypeStruct],
) -> Any:
    """The lowered evaluation; to be called while names are `placed_by` the rules."""

    def evaluate(state: TrainState, feed: Feed, weights: jax.Array, number: jax.Array, numbers: Numbers) -> Any:
        return definition.evaluate(recipe, state, feed, weights, number, numbers)

    count = jax.ShapeDtypeStruct((), jnp.int32, sharding=rules.sharding())
    jitted = jax.jit(evaluate, out_shardings=rules.sharding())
    return jitted.lower(state, *evaluation, count, abstract_numbers(values, rules))


def abstract_numbers(values: Mapping[str, float], rules: Rules) -> dict[str, jax.ShapeDtypeStruct]:
    """The numbers as shapes, whole on each device."""
    sharding = rules.sharding()
    dtypes = {name: typed_number(name, value).dtype for name, value in values.items()}
    return {name: jax.ShapeDtypeStruct((), dtype, sharding=sharding) for name, dtype in dtypes.items()}
