"""From a checked config to a compiled program: data first (no JAX needed), then mesh, then shapes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bigtrain.config import numbers as config_numbers
from bigtrain.config.check import Checked, Node
from bigtrain.config.duration import Duration
from bigtrain.config.errors import ConfigError, did_you_mean
from bigtrain.config.schema import RunConfig
from bigtrain.config.trust import Trust
from bigtrain.data.placement import Feed, Resident, Streamed, choose
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Dataset, Spec
from bigtrain.optim.chain import Chain
from bigtrain.parallel import allocator
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.devices import compute_in_calls
from bigtrain.parallel.rules import Rules
from bigtrain.tasks import Task
from bigtrain.tasks.fits import check_fits
from bigtrain.train import cache
from bigtrain.train.evaluate import Batching
from bigtrain.train.lower import Lowered, lower_program
from bigtrain.train.once import Once
from bigtrain.train.program import Definition, Program

SAVE_APART = 1.0  # seconds; ten saves of a wide MLP cost a run of a quarter of a second on a GPU seven times as much
EVALUATED_VALUES = 1 << 19  # numbers of inputs or scores that an evaluation batch may have beyond the training batch
TOKEN_VALUES = 256  # that a token is taken to be in a model


@dataclass(frozen=True)
class Lengths:
    """Every duration of a run, in steps."""

    steps: int
    stop: int  # where the run rests; at the last step it ends
    eval_every: int
    log_every: int
    save_every: int
    save_apart: float  # seconds
    keep_every: int | None  # of which steps every checkpoint is kept
    profile: tuple[int, int] | None  # the first step in the trace, and how many
    steps_per_epoch: float


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start: nothing of the model exists yet but its compiled program."""

    run: RunConfig
    dataset: Dataset
    lengths: Lengths
    rules: Rules
    placement: Resident | Streamed
    placement_reason: str
    batching: Batching
    values: dict[str, float]
    program: Program
    compile_seconds: float
    cached: cache.CacheCount
    once: Once = dataclasses.field(default_factory=Once)  # shared by all runs on this data
    members: int = 1  # runs that the program trains at once


def converter(run: RunConfig, examples: int) -> tuple[Lengths, Callable[[Duration], int]]:
    """The durations of a run in steps, and the function that converts any other."""
    per_epoch = examples / run.batch_size
    total = run.duration("steps")
    if total.unit == "percent":
        raise ConfigError("steps", f"{total} of what?", allowed="steps (2000), '10epochs' or '1_000_000examples'")
    steps = total.steps(steps_per_epoch=per_epoch, batch_size=run.batch_size)
    if not 1 <= steps < 2**31:
        raise ConfigError("steps", f"{total} is {steps} steps", allowed="1 to 2147483647")

    def to_steps(duration: Duration) -> int:
        return duration.steps(steps_per_epoch=per_epoch, batch_size=run.batch_size, total=steps)

    every = {name: max(1, to_steps(run.duration(name))) for name in ("eval_every", "log_every")}
    saving = Duration.parse(run.checkpoint.every)
    save, apart = max(1, to_steps(saving)), SAVE_APART if saving.unit == "percent" else 0.0
    kept = None if run.checkpoint.keep_every is None else max(1, to_steps(Duration.parse(run.checkpoint.keep_every)))
    traced = _traced(run, to_steps, steps)
    stop = steps if run.stop_at is None else min(steps, to_steps(Duration.parse(run.stop_at)))
    return Lengths(steps, stop, every["eval_every"], every["log_every"], save, apart, kept, traced, per_epoch), to_steps


def _traced(run: RunConfig, to_steps: Callable[[Duration], int], steps: int) -> tuple[int, int] | None:
    """The first step in the trace and how many there are, if one is asked for."""
    if not run.profile:
        changed = {
            "profile_from": run.duration("profile_from") != Duration.parse(RunConfig.profile_from),
            "profile_steps": run.profile_steps != RunConfig.profile_steps,
        }
        for name in filter(changed.get, changed):
            raise ConfigError(name, "says which steps to trace, and profile is off", hint="set profile=true")
        return None
    first = max(1, to_steps(run.duration("profile_from")))
    if first > steps:
        raise ConfigError("profile_from", f"step {first:,} is after the run's last, {steps:,}")
    return first, run.profile_steps


def definition(checked: Checked, trusted: Trust, dataset: Dataset) -> Definition:
    """What the run computes."""
    run = checked.run
    nodes = checked.nodes
    chain = Chain(
        nodes["optimizer"], nodes["schedule"], trusted, run.clip_norm is not None, run.freeze,
        run.skip_spikes is not None,
    )  # fmt: skip
    return Definition(
        nodes["model"], nodes["task"], chain, dataset.spec, trusted, run.precision,
        1 if run.accumulate == "auto" else run.accumulate, run.ema is not None,
        tuple(checked.augment.values()), run.on_nonfinite == "skip", run.deterministic,
    )  # fmt: skip


def numbers(
    checked: Checked, made: Definition, lengths: Lengths, to_steps: Callable[[Duration], int]
) -> dict[str, float]:
    """Every number that enters the program as an argument, by dotted path."""
    return made.chain.traceable(given_numbers(checked, made.recipe()[0].fields, lengths, to_steps))


def given_numbers(
    checked: Checked, fields: tuple[str, ...], lengths: Lengths, to_steps: Callable[[Duration], int]
) -> dict[str, float]:
    """Every number of a run by dotted path, also what an optimizer takes as a constant; `fields` are the model's."""
    run = checked.run
    values: dict[str, float] = {"seed": run.seed, "total_steps": lengths.steps}
    if run.clip_norm is not None:
        values["clip_norm"] = run.clip_norm
    if run.ema is not None:
        values["ema"] = run.ema
    if run.skip_spikes is not None:
        values["skip_spikes"] = run.skip_spikes
    for name in ("optimizer", "schedule", "task"):
        values |= config_numbers.of(checked.nodes[name], to_steps)
    for node in checked.augment.values():
        values |= config_numbers.of(node, to_steps)
    if values.get("schedule.warmup", 0) > lengths.steps:
        problem = f"{values['schedule.warmup']:,.0f} steps are more than the run's {lengths.steps:,}"
        raise ConfigError("schedule.warmup", problem, hint="the learning rate would never be reached")
    return values | model_numbers(checked.nodes["model"], fields)


def model_numbers(node: Node, fields: tuple[str, ...]) -> dict[str, float]:
    """The values of a model's hyperparameters: as configured, or the constructor's defaults."""
    found: dict[str, float] = {}
    for field in fields:
        parameter = node.callee.parameters.get(field)
        value: Any = node.arguments.get(field, parameter.default if parameter else None)
        found[f"model.{field}"] = float(value)
    return found


@dataclass(frozen=True)
class Outline:
    """What a run comes to on a mesh, before anything is compiled and before its data is anywhere."""

    rules: Rules
    lengths: Lengths
    order: Order
    definition: Definition
    values: dict[str, float]
    batching: Batching
    cuts: bool  # whether the number of microbatches is chosen as the program is lowered

    def lowered(self, train: tuple[Feed, int], platform: str | None = None) -> Lowered:
        """The program for a training feed of this shape and capacity, to be compiled; for the devices of the mesh, or
        for a platform that they stand in for.
        """
        cut = (self.order.batch_size, platform or self.rules.mesh.devices.flat[0].platform) if self.cuts else None
        return lower_program(self.definition, self.rules, self.values, train, self.batching.abstract(), cut)


def outline(checked: Checked, trusted: Trust, dataset: Dataset, rules: Rules) -> Outline:
    """Everything that can be wrong with a run is wrong here, or in lowering it."""
    run = checked.run
    _check_divides(run, rules)
    size = len(dataset.splits["train"])
    lengths, to_steps = converter(run, size)
    made = definition(checked, trusted, dataset)
    values = numbers(checked, made, lengths, to_steps)
    task = made.make_task(values)
    check_fits(task, dataset.spec, made.objective)
    _check_monitor(run, task, dataset)
    made.chain.check_freeze(list(made.recipe()[1].params))
    order = Order(size, run.batch_size, run.seed)
    return Outline(rules, lengths, order, made, values, batching_for(run, dataset, rules), run.accumulate == "auto")


def feed_settings(run: RunConfig, steps: int) -> dict[str, Any]:
    """What the config says of where the training set lives, for `placement.choose` and `placement.foreseen`.

    Args:
        run: the config.
        steps: of the whole run; no call of the program holds more, whatever is asked for.
    """
    asked = run.steps_per_dispatch
    return {"placement": run.placement, "capacity": None if asked == "auto" else min(int(asked), steps)}


def prepare(checked: Checked, trusted: Trust, dataset: Dataset) -> Prepared:
    """Compiles the run; everything that can be wrong with it is wrong here, before anything is written."""
    run = checked.run
    meshes.simulate(run.mesh)
    if run.compilation_cache:
        cache.enable()
    if has_long_steps(dataset.spec):
        compute_in_calls()
    rules = Rules.of(meshes.make(run.mesh), run.mesh)
    made = outline(checked, trusted, dataset, rules)
    source = dataset.splits["train"]
    how = {**feed_settings(run, made.lengths.steps), "workers": run.data_workers}
    placement, reason = choose(source, dataset.spec, made.order, rules, **how)
    before, started = cache.COUNT.copy(), time.perf_counter()
    program = made.lowered((placement.abstract(), placement.capacity)).compiled()
    seconds = time.perf_counter() - started
    if rules.mesh.devices.flat[0].platform == "cpu":
        allocator.settle()
    return Prepared(
        run, dataset, made.lengths, rules, placement, reason, made.batching, made.values, program, seconds,
        cache.COUNT.since(before),
    )  # fmt: skip


def has_long_steps(spec: Spec) -> bool:
    """Whether a step is likely to take long, and much memory: where each token of a sequence is scored."""
    return spec.targets is not None and spec.targets.kind == "tokens"


def batching_for(run: RunConfig, dataset: Dataset, rules: Rules, largest: int | None = None) -> Batching:
    """How splits of up to `largest` examples are evaluated; by default, all splits but the training one."""
    if largest is None:
        largest = max((len(source) for name, source in dataset.splits.items() if name != "train"), default=1)
    size = (
        max(run.batch_size, evaluated_at_once(dataset.spec))
        if run.eval_batch_size == "auto"
        else int(run.eval_batch_size)
    )
    return Batching.of(dataset.spec, rules, size, largest)


def evaluated_at_once(spec: Spec) -> int:
    """How many examples, 256 at most, have inputs and scores of a few megabytes: evaluating them takes little memory.

    Where every step is scored, the scores of a vocabulary are what grows: 256 rows of a language model with 256 steps
    and tokens would take more memory than training on eight of them (benchmarks/LOG.md). A token is counted as the
    vector that a model makes of it.
    """
    values = [
        math.prod(field.shape) * (TOKEN_VALUES if field.kind == "tokens" else 1) for field in spec.fields.values()
    ]
    vocabulary = spec.target_vocabulary or spec.vocabulary
    if vocabulary is not None and spec.targets is not None and spec.targets.kind == "tokens":
        values.append(math.prod(spec.targets.shape) * len(vocabulary))
    return min(256, EVALUATED_VALUES // max(values))


def _check_monitor(run: RunConfig, task: Task, dataset: Dataset) -> None:
    """Refuses to look for the best value of a metric that the task doesn't report; one may keep its names to itself."""
    if run.early_stopping.patience is not None and "validation" not in dataset.splits:
        hint = "hold some examples out: data.validation=0.1"
        raise ConfigError("early_stopping.patience", f"data {dataset.spec.name!r} has no validation split", hint=hint)
    check_metric("checkpoint.monitor", run.checkpoint.monitor, task)


def check_metric(path: str, name: str, task: Task, *others: str) -> None:
    """Refuses a metric that the task doesn't report; a task may keep the names of its metrics to itself."""
    reported = getattr(task, "metrics", None)
    metrics = ("loss", *(reported or ()), *others)
    if reported is not None and name not in metrics:
        hint = did_you_mean(name, metrics)
        raise ConfigError(path, f"the task reports no {name!r}", allowed=metrics, hint=hint)


def _check_divides(run: RunConfig, rules: Rules) -> None:
    """The batch is cut evenly over devices and microbatches, or refused with the nearest sizes that can be."""
    parts = {"devices": rules.ways("batch"), "microbatches": 1 if run.accumulate == "auto" else run.accumulate}
    ways = math.prod(parts.values())
    if run.batch_size % ways:
        below, above = run.batch_size // ways * ways, (run.batch_size // ways + 1) * ways
        over = " and ".join(f"{number} {name}" for name, number in parts.items() if number > 1)
        problem = f"{run.batch_size} does not divide over {over}"
        nearest = f"{below} or {above}" if below else above
        raise ConfigError("batch_size", problem, allowed=f"multiples of {ways}, such as {nearest}")
