"""What is measured: the six reference workloads, who takes part, and what the result should be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Workload:
    """One training job, the same mathematics in every framework: Adam at 1e-3, f32, batches shuffled each epoch.

    `run_steps` is the length of a real run, from which the cadence of checkpoints (10%) and log lines (1%) follows, as
    in bigtrain's defaults. `loss_steps` updates from a fresh start, the mean loss of the last `tail` of which is
    compared between frameworks.
    """

    name: str
    title: str
    data: str  # which data set of `datasets.WRITERS`
    batch: int
    run_steps: int
    loss_steps: int
    tail: int
    overrides: tuple[str, ...]  # bigtrain's config
    forms: tuple[str, ...] = ("scan32",)  # how the bare loop may be written; the fastest counts
    model: dict[str, int] = field(default_factory=dict)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "W1", "MLP 784-64-64-10, batch 32", "fashion", 32, 18_750, 1_024, 256,
            ("model=mlp", "model.widths=[64,64]"), model={"width": 64},
        ),
        Workload(
            "W2", "Embedding(1000, 64), LSTM(64), 10 classes, length 50, batch 32", "tokens", 32, 6_250, 512, 128,
            ("model=rnn", "model.cell=lstm", "model.width=64", "model.embedding=64", "data.kind=tokens",
             "data.target_kind=label", "data.vocabulary=1000"),
        ),
        Workload(
            "W3", "VAE 784-64-32-64-784, batch 32", "fashion", 32, 18_750, 1_024, 256,
            ("model=vae", "model.widths=[64]", "model.latent=32"),
        ),
        Workload(
            "W4", "MLP 784-2048-2048-10, batch 512", "fashion", 512, 1_170, 96, 32,
            ("model=mlp", "model.widths=[2048,2048]"), ("scan8",), model={"width": 2048},
        ),
        Workload(
            "W5", "byte GPT, 4 layers, d=256, T=256, batch 8", "bytes", 8, 2_000, 256, 64,
            ("model=transformer", "model.layers=4", "model.width=256", "model.heads=4", "model.norm=layer",
             "model.activation=gelu", "model.bias=true", "model.positions=learned", "model.tie_embeddings=false",
             "data.kind=tokens", "data.target_kind=tokens", "data.vocabulary=256"), ("scan4", "single"),
        ),
        Workload(
            "W6", "LeNet-5, batch 128", "fashion", 128, 4_680, 256, 64, ("model=cnn/lenet5",), ("unrolled8", "single"),
        ),
    )
}  # fmt: skip
"""By name."""


@dataclass(frozen=True)
class Side:
    """One participant: a way to train, in a worker process of its own."""

    name: str
    title: str
    module: str  # under bench.sides
    environment: str  # which Python runs it: 'own' is the one that runs the benchmark
    options: dict[str, object] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


OURS = Side("bigtrain", "bigtrain", "ours", "own")
SIDES = {
    side.name: side
    for side in (
        OURS,
        Side("bare", "bare scan of the same step", "bare", "own"),
        Side("keras-jax", "Keras on JAX, default", "keras_side", "keras", {}, {"KERAS_BACKEND": "jax"}),
        Side(
            "keras-jax-32", "Keras on JAX, steps_per_execution=32", "keras_side", "keras",
            {"steps_per_execution": 32}, {"KERAS_BACKEND": "jax"},
        ),
        Side("keras-tf", "Keras on TensorFlow, default", "keras_side", "keras", {}, {"KERAS_BACKEND": "tensorflow"}),
        Side("torch-loader", "PyTorch, DataLoader", "torch_side", "torch", {"form": "loader"}),
        Side("torch-fused", "PyTorch, tensors and fused Adam", "torch_side", "torch", {"form": "fused"}),
        Side("bigtrain-stream", "bigtrain, streamed from memory", "ours", "own", {"overrides": ["placement=stream"]}),
        Side(
            "bigtrain-mapped", "bigtrain, streamed from a memory-mapped file", "ours", "own",
            {"overrides": ["placement=stream"], "mapped": True},
        ),
        Side(
            "bigtrain-records", "bigtrain, streamed from ArrayRecord by one Grain worker", "ours", "own",
            {"overrides": ["placement=stream", "data_workers=1"], "records": True},
        ),
    )
}  # fmt: skip
"""By name; the first is what all others are compared with."""

OTHERS = tuple(name for name in SIDES if not name.startswith(OURS.name))
"""Who takes part where nothing else is asked for."""

GOALS = {
    "bare": (1.05, 1.05, 1.05, 1.03, 1.03, 1.05),
    "keras-jax": (0.30, 0.85, 0.50, 0.95, 0.80, 0.80),
    "keras-tf": (0.10, 0.40, 0.15, 0.75, 0.80, 0.75),
    "torch-best": (0.25, 0.90, 0.30, 1.00, 1.00, 1.00),
}
"""Greatest ratio wanted (bigtrain's time / theirs), W1 to W6 on a CPU; `torch-best` is PyTorch's fastest form."""


def shortened(workload: Workload) -> Workload:
    """The same with few updates before losses are compared, for a smoke check."""
    steps = max(8, workload.loss_steps // 16)
    return replace(workload, loss_steps=steps, tail=steps // 4)


def goal(side: str, workload: str) -> float | None:
    """The wanted ratio, where one was set."""
    return GOALS[side][list(WORKLOADS).index(workload)] if side in GOALS and workload in WORKLOADS else None


def chosen_sides(names: list[str]) -> list[Side]:
    """The sides that names or their beginnings choose ('keras' is three of them); bigtrain always comes first.

    Raises:
        ValueError: a name chooses none.
    """
    found = [OURS]
    for name in names:
        hits = [side for side in SIDES.values() if side.name.startswith(f"{name}-")]
        if name in SIDES:  # 'keras-jax' is also the beginning of another name
            hits = [SIDES[name]]
        if not hits:
            raise ValueError(f"no side is called {name!r}; there are {', '.join(SIDES)}")
        found += [side for side in hits if side not in found]
    return found


def variant(text: str) -> Side:
    """A second bigtrain with other settings, from 'NAME: override override'.

    Raises:
        ValueError: there is no name.
    """
    name, colon, overrides = text.partition(":")
    if not (name.strip() and colon):
        raise ValueError(f"{text!r} is not 'NAME: override override', for example 'stream: placement=stream'")
    title = f"bigtrain with {overrides.strip()}"
    return replace(OURS, name=f"bigtrain-{name.strip()}", title=title, options={"overrides": overrides.split()})
