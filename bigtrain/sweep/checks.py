"""What a sweep refuses before it starts, beside what each of its runs would refuse by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from bigtrain.config.check import Checked
from bigtrain.config.errors import ConfigError
from bigtrain.config.overrides import key_of
from bigtrain.config.schema import DistributedConfig
from bigtrain.config.sweep_schema import Score

if TYPE_CHECKING:
    from bigtrain.sweep.space import Space


def check_own(space: Space, base: Sequence[str]) -> None:
    """Refuses keys that a sweep sets itself."""
    keys = [*map(key_of, base), *(item.key for item in space)]
    if "run_dir" in keys:
        raise ConfigError("run_dir", "each run of a sweep has its own", hint="the folder of them all is sweep_dir=…")
    if "stop_at" in keys:
        raise _stops()


def check_run(checked: Checked, score: Score, *, rests: bool = False) -> None:
    """Refuses what a recipe may bring along and a run of a sweep can't have.

    Args:
        checked: the run's config.
        score: how it is to be judged.
        rests: whether the search says where it stops.
    """
    if checked.run.stop_at is not None and not rests:
        raise _stops()
    joined = asdict(checked.run.distributed)
    given = [name for name, value in joined.items() if value != getattr(DistributedConfig, name)]
    if joined["num_processes"] == 1:  # says what is so
        given.remove("num_processes")
    if given:
        name = "num_processes" if "num_processes" in given else given[0]  # the one that says it best
        hint = "where they run is up to the launcher: hydra/launcher=isolated, submitit_slurm, …"
        raise ConfigError(f"distributed.{name}", "each run of a sweep is one process", hint=hint)
    if score == "best" and "jsonl" not in checked.loggers:
        problem = "'best' is read from metrics.jsonl, and there is no jsonl logger"
        raise ConfigError("sweep.score", problem, hint="logger=[jsonl]")


def _stops() -> ConfigError:
    return ConfigError("stop_at", "is up to the search of a sweep", hint="how long runs train is steps=…")


def check_one_process(every: Sequence[Checked], launching: Sequence[str]) -> None:
    """Refuses what holds for a whole process, where one trains several runs."""
    launcher = [text.partition("=")[2] for text in launching if key_of(text) == "hydra/launcher"][-1]
    if launcher not in ("population", "joblib"):
        return
    hint = "a process for each run: hydra/launcher=isolated"
    if len({checked.run.mesh.simulate for checked in every}) > 1:
        raise ConfigError("mesh.simulate", "can't change from run to run in one process", hint=hint)
    if launcher == "population" and any(checked.run.profile for checked in every):
        raise ConfigError("profile", "a trace is of a process, and this one trains several runs", hint=hint)
