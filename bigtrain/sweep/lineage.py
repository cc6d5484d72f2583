"""A trial that starts from another's state: its run directory begins as a copy, with a config of its own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from bigtrain.config.compose import to_yaml
from bigtrain.config.errors import RunError
from bigtrain.run.directory import ADOPTED, saved_steps
from bigtrain.run.history import read_lines
from bigtrain.sweep.member import Member


def adopt(member: Member, parent: Path) -> None:
    """Makes the run directory of a trial from its parent's newest checkpoint and metrics, whole or not at all.

    Args:
        member: the trial; nothing is done where its directory is there.
        parent: the run directory that it starts from, which rests.

    Raises:
        RunError: when the parent has no checkpoint.
    """
    if member.path.exists():
        return
    steps = saved_steps(parent / "checkpoints")
    if not steps:
        raise RunError(f"{parent}: has no checkpoint for {member.path.name} to start from")
    partial = member.path.with_name(f".{member.path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "checkpoints").mkdir(parents=True, mode=0o700)
    for entry in (parent / "checkpoints").glob(f"{steps[-1]:09d}*"):
        copy = shutil.copytree if entry.is_dir() else shutil.copy2
        copy(entry, partial / "checkpoints" / entry.name)
    lines = [line for line in read_lines(parent / "metrics.jsonl") if line["step"] <= steps[-1]]
    (partial / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (partial / ADOPTED).write_text(json.dumps({"run": parent.name, "step": steps[-1]}), encoding="utf-8")
    (partial / "overrides.json").write_text(json.dumps(list(member.overrides), indent=1), encoding="utf-8")
    (partial / "config.yaml").write_text(to_yaml(member.composed.written), encoding="utf-8")
    try:
        partial.rename(member.path)
    except OSError:  # another process of the sweep was faster
        shutil.rmtree(partial, ignore_errors=True)
        if not member.path.exists():
            raise
