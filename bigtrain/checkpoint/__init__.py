"""Checkpoints: the training state on disk, committed by one rename, verified before it is used."""

from bigtrain.checkpoint.kept import Best as Best
from bigtrain.checkpoint.manifest import Damaged as Damaged
from bigtrain.checkpoint.store import Checkpoints as Checkpoints
