"""The typed spine of a run: every key that belongs to the run as a whole, with its default and what it takes.

Defaults live here. `configs/run.yaml` only chooses the components; `bigtrain configs run` prints this page.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from bigtrain.config.duration import Duration
from bigtrain.config.values import (
    Component,
    Factor,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Rate,
    Steps,
)

COMPONENTS = ("model", "data", "task", "optimizer", "schedule")
"""Spine keys that hold one component each."""

TABLES = {"loggers": "logger", "augment": "augment"}
"""Spine keys that hold several components by name, and the config group that each of them is chosen from."""

NESTED = {
    "mesh": "MeshConfig",
    "distributed": "DistributedConfig",
    "checkpoint": "CheckpointConfig",
    "early_stopping": "EarlyStoppingConfig",
    "plan": "PlanConfig",
}
"""Spine keys that hold a table of their own, and the class that types it."""


@dataclass(frozen=True)
class CheckpointConfig:
    """When the training state is saved, and which saves are kept.

    Args:
        every: how often to save; the last step is always saved. Saves given as a share of the run (10%) are at least a
            second apart.
        keep: how many of the newest checkpoints to keep.
        keep_every: also save at every multiple of this, and keep all of those.
        minutes: also save when so many minutes have passed since the last save.
        best: also keep the checkpoint with the best `monitor` on the validation split.
        monitor: the validation metric that decides which is best.
        mode: whether a smaller or a larger metric is better; auto is max for accuracy, exact_match,
            elbo and iwae, min otherwise.
    """

    every: Steps = "10%"  # type: ignore[assignment]
    keep: PositiveInt = 1
    keep_every: Steps | None = None
    minutes: PositiveFloat | None = None
    best: bool = True
    monitor: str = "loss"
    mode: Literal["auto", "min", "max"] = "auto"


@dataclass(frozen=True)
class EarlyStoppingConfig:
    """When a run ends before its last step, judged by checkpoint.monitor on the validation split.

    Args:
        patience: evaluations without improvement after which the run ends; null trains to the last step.
        min_delta: by how much a score must be better to count as an improvement.
    """

    patience: PositiveInt | None = None
    min_delta: NonNegativeFloat = 0.0


@dataclass(frozen=True)
class PlanConfig:
    """What is worked out before a run starts (`bigtrain plan`).

    Args:
        check: whether fit refuses to start what can't fit into the memory of the devices at hand.
        price: of a device for an hour, in any currency; the plan then says what the run costs.
    """

    check: bool | Literal["on", "off"] = "on"  # YAML reads on and off as booleans
    price: PositiveFloat | None = None

    @property
    def checks(self) -> bool:
        """Whether a run is checked before it starts."""
        return self.check in (True, "on")


@dataclass(frozen=True)
class MeshConfig:
    """The devices, as a table of axis sizes, and which dimension of an array is split over which axis.

    Args:
        data: devices that share the batch; -1 is all there are, auto is one on a CPU and all elsewhere,
            or where there are several processes.
        fsdp: devices that share the batch, and the parameters as well; -1 is what the other axes leave.
        sequence: devices that share the steps of a sequence; -1 as above.
        tensor: devices that share the computations of a layer; -1 as above.
        simulate: pretend that the CPU of each process is this many devices (to try a mesh without the hardware).
        slow: axes that cross the slow network between nodes or slices; the others stay within one.
        rules: dimension name -> mesh axis, or a list of axes; a dimension without a rule is replicated. `parameters`
            stands for the largest dimension of each parameter that no other rule splits, `optimizer` for that of the
            optimizer's state alone.
        optional: dimensions with a rule that not every model has; any other rule that splits nothing is an error.
        uneven: dimensions that stay whole where their size does not divide over the axis; any other is an error.
        replicated: the largest share of a large model's parameters (from 100 MB on) that may be whole on each device
            of an fsdp or tensor axis.
    """

    data: Literal["auto", -1] | PositiveInt = "auto"
    fsdp: Literal[-1] | PositiveInt = 1
    sequence: Literal[-1] | PositiveInt = 1
    tensor: Literal[-1] | PositiveInt = 1
    simulate: PositiveInt | None = None
    slow: tuple[Literal["data", "fsdp", "sequence", "tensor"], ...] = ()
    rules: dict[str, Any] = field(default_factory=lambda: {"batch": "data"})
    optional: tuple[str, ...] = ()
    uneven: tuple[str, ...] = ()
    replicated: Fraction = 0.02


@dataclass(frozen=True)
class DistributedConfig:
    """The processes of a run; Slurm, Open MPI, Kubernetes, Cloud TPU and `bigtrain launch` fill this in by themselves.

    Args:
        coordinator: HOST:PORT at which process 0 listens and the others find it.
        num_processes: how many processes there are; 1 is a run by itself, whatever the cluster says.
        process_id: which of them this one is, from 0.
        start_timeout: seconds that processes wait for each other when they start.
        lost_after: seconds without a sign of life after which a process counts as lost, and the others end.
    """

    coordinator: str | None = None
    num_processes: PositiveInt | None = None
    process_id: NonNegativeInt | None = None
    start_timeout: PositiveInt = 300
    lost_after: PositiveInt = 15


@dataclass(frozen=True)
class RunConfig:
    """A run, from the seed to the loggers.

    Args:
        model: the model family and its fields (`bigtrain configs model`).
        data: the data set (`bigtrain configs data`).
        task: the losses and metrics; auto chooses from the model and the data.
        optimizer: any Optax optimizer (`bigtrain configs optimizer`).
        schedule: the shape of the learning rate over the run, as a factor of optimizer.learning_rate.
        loggers: where metrics go, by name (`bigtrain configs logger`); `logger=[jsonl,csv]` chooses them.
        augment: what is done to each batch in training, by name and in this order (`bigtrain configs augment`);
            `augment=[flip,crop]` chooses.
        mesh: the devices (`bigtrain configs mesh`).
        distributed: the processes, where nothing else says how many there are.
        seed: fixes initialisation, data order and every random number of training.
        steps: how long to train.
        stop_at: rest there, scored and saved; without it the same command goes on as if it had never stopped.
        batch_size: examples an optimizer step, over all devices.
        accumulate: microbatches an optimizer step is computed in; memory falls, the gradient is the same
            (but for what layers draw or measure on each microbatch: dropout, batch norm). auto is 1, but on a CPU as
            many as make a large step fast, where nothing is drawn or measured and nothing scans.
        eval_batch_size: examples at once in evaluation; auto is batch_size, or up to 256 where examples are small.
        eval_every: how often to evaluate on the validation split; the last step is always evaluated.
        log_every: how often to log; each line is the mean over the steps since the last.
        run_dir: the folder that everything is written to; the same folder again continues the run.
        precision: the type that the model computes in; parameters and losses stay f32.
        deterministic: the same run gives the same numbers to the last bit, also on a GPU; false is faster there.
        clip_norm: scale gradients down to at most this global norm.
        ema: decay of an exponential moving average of the parameters, used for evaluation.
        freeze: parameters that stay as initialised: patterns over names such as 'embedding*' or 'hidden.0.*'.
        placement: keep the training set on the device, or stream it; auto keeps what fits.
        data_workers: processes that read and decode a streamed training set; 0 is a thread of the run's own process.
        steps_per_dispatch: steps that run in one call of the compiled program; auto makes Python's share negligible.
        on_nonfinite: what happens when the loss, or anything in the training state, is not finite after a step: stop
            ends the run, skip leaves that step's update out, rollback goes back to the newest checkpoint and on from
            there with the batches that come after.
        nonfinite_limit: steps in a row that may be skipped, or how often a run may go back, before it ends.
        skip_spikes: also leave out a step whose gradient norm is more than so many times its running average.
        watchdog: seconds without progress after which a hung run is ended, with what every thread was doing in
            stacks.txt; null waits forever.
        profile: record a trace of some steps for Perfetto and TensorBoard, and measure the share of the peak speed
            (MFU) also where no table has the device's.
        profile_from: the first step in the trace.
        profile_steps: how many steps are in it.
        compilation_cache: keep compiled programs in $BIGTRAIN_CACHE (default ~/.cache/bigtrain) for the next start.
        checkpoint: when to save and what to keep.
        early_stopping: when to end before the last step.
        plan: the check before a run starts, and what a plan counts with.
        plugins: packages of your own whose classes the config may name; same as --trust.
    """

    model: Component
    data: Component
    task: Component
    optimizer: Component
    schedule: Component
    loggers: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    seed: NonNegativeInt = 0
    steps: Steps = 2000
    stop_at: Steps | None = None
    batch_size: PositiveInt = 64
    accumulate: PositiveInt | Literal["auto"] = "auto"
    eval_batch_size: PositiveInt | Literal["auto"] = "auto"
    eval_every: Steps = "10%"  # type: ignore[assignment]
    log_every: Steps = "1%"  # type: ignore[assignment]
    run_dir: str = "runs/${now:%Y%m%d-%H%M%S}-${hydra:runtime.choices.model}-${hydra:runtime.choices.data}"
    precision: Literal["f32", "bf16"] = "f32"
    deterministic: bool = True
    clip_norm: PositiveFloat | None = None
    ema: Rate | None = None
    freeze: tuple[str, ...] = ()
    placement: Literal["auto", "resident", "stream"] = "auto"
    data_workers: NonNegativeInt = 0
    steps_per_dispatch: PositiveInt | Literal["auto"] = "auto"
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    nonfinite_limit: PositiveInt = 10
    skip_spikes: Factor | None = None
    watchdog: PositiveFloat | None = 1800.0
    profile: bool = False
    profile_from: Steps = "50%"  # type: ignore[assignment]
    profile_steps: PositiveInt = 20
    compilation_cache: bool = True
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    plugins: tuple[str, ...] = ()

    def duration(self, name: str) -> Duration:
        """A duration field by name, as parsed."""
        return Duration.parse(getattr(self, name))


def defaults() -> dict[str, Any]:
    """The spine with its defaults, as the plain dict that Hydra composes onto."""
    return {
        entry.name: _plain(entry.default if entry.default_factory is dataclasses.MISSING else entry.default_factory())
        for entry in dataclasses.fields(RunConfig)
        if entry.name not in COMPONENTS
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return list(value) if isinstance(value, tuple) else value
