"""Families large enough to be split, and the meshes to split them over eight devices."""

SHORT = ("steps=50", "batch_size=16", "log_every=1", "eval_every=50", "checkpoint.every=50", "ema=0.9", "clip_norm=1.0")
FAMILIES = {
    "mlp": ("model=mlp", "model.widths=[64,64]", "model.dropout=0.1", "model.norm=batch"),
    "lstm": ("model=rnn", "model.width=32", "model.dropout=0.1", "data=text", "data.length=16"),
    "gpt": (
        "model=transformer", "model.layers=2", "model.width=32", "model.heads=4", "model.scan_layers=true",
        "model.dropout=0.1", "data=text", "data.length=16",
    ),
    "vit": ("model=transformer", "model.layers=2", "model.width=32", "model.heads=4", "model.dropout=0.1"),
    "vae": ("model=vae", "model.widths=[64]", "model.latent=4"),
    "seq2seq": (
        "model=seq2seq", "model.width=32", "model.embedding=32", "model.dropout=0.1", "data=arithmetic",
        "data.examples=200",
    ),
    "translator": (
        "model=seq2seq/transformer", "model.width=32", "model.layers=2", "model.heads=4", "model.dropout=0.1",
        "data=arithmetic", "data.examples=200",
    ),
    "cnn": ("model=cnn", "model.stages=[{channels:8,pool:2},{channels:16,block:basic}]", "model.head=[64]"),
}  # fmt: skip
"""Each with dropout where it has some; none fits on its devices without being split: sizes divide by 2 and by 4."""

MESHES = {
    "data": ("mesh=data",),
    "fsdp": ("mesh=fsdp",),
    "zero1": ("mesh=zero1",),
    "tensor": ("mesh=tensor", "mesh.tensor=4"),
    "fsdp_tensor": ("mesh=fsdp_tensor", "mesh.tensor=2"),
    "hybrid": ("mesh=hybrid",),
    "sequence": ("mesh=sequence",),
}
CUBE = ("mesh=fsdp_tensor", "mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2", "mesh.rules.optimizer=data")

SUMS, PIECES = {"all-reduce", "reduce-scatter"}, {"all-gather"}
EXPECTED = {
    "data": {"data": SUMS},
    "zero1": {"data": SUMS | PIECES},
    "fsdp": {"fsdp": SUMS | PIECES},
    "hybrid": {"data": SUMS, "fsdp": SUMS | PIECES, "data x fsdp": SUMS},
    "tensor": {"tensor": SUMS | PIECES},
    "fsdp_tensor": {"fsdp": SUMS | PIECES, "tensor": SUMS | PIECES, "fsdp x tensor": SUMS | PIECES},
    "sequence": {"sequence": SUMS | PIECES},
}
"""What a program may send on a mesh: which collectives over which axes."""

REFUSED = {(family, "sequence") for family in ("mlp", "lstm", "vae", "seq2seq", "translator", "cnn")}
"""Pairs of which nothing, or nothing that divides, is named as the steps of a sequence."""


def unexpected(mesh: str, found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The collectives (kind, axes) that a mesh gives no reason for."""
    return {(kind, axis) for kind, axis in found if kind not in EXPECTED[mesh].get(axis, set())}
