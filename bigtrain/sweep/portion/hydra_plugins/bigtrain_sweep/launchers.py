"""The launchers that Hydra calls: `population` trains all members in this process, `isolated` in one each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from bigtrain.config.errors import ConfigError
from bigtrain.sweep.around import Around
from bigtrain.sweep.groups import Programs
from bigtrain.sweep.isolated import Isolated
from bigtrain.sweep.job import Outcome, run_dir_of
from bigtrain.sweep.population import Population


class Own(Launcher):
    """What bigtrain's launchers share: they belong to a sweep that is under way, which tells them when to stop."""

    AT_ONCE = 64  # trials that are claimed together: another process may take the rest

    def __init__(self) -> None:
        self.around = Around()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's `Launcher`: jobs are composed by bigtrain, as those of `bigtrain fit` are."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs jobs; each returns its outcome as a dict."""
        found = dict(self.outcomes([tuple(job) for job in job_overrides]))
        return [_returned(job, found[run_dir_of(job).as_posix()]) for job in job_overrides]

    def outcomes(self, jobs: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, Outcome]]:
        """Each job's run directory with its outcome, as they end."""
        raise NotImplementedError


class PopulationLauncher(Own):
    """Trains jobs in this process; those that differ in numbers alone share one compiled program."""

    def __init__(self, at_once: int | None = None, strategy: str = "auto") -> None:
        super().__init__()
        _check_positive("at_once", at_once)
        if strategy not in ("auto", "sequential", "threads", "vmap"):
            problem = f"{strategy!r} is not allowed"
            raise ConfigError("hydra.launcher.strategy", problem, allowed="auto, sequential, threads, vmap")
        self.at_once, self.strategy = at_once, strategy
        self._population: Population | None = None

    def outcomes(self, jobs: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, Outcome]]:
        """See `Own`."""
        if self._population is None:
            kind: Literal["auto", "sequential", "threads", "vmap"] = self.strategy  # type: ignore[assignment]
            self._population = Population(self.around, kind, self.at_once, Programs(self.around.datasets))
        for member, outcome in self._population.run(self.around.members(jobs)):
            yield member.path.as_posix(), outcome


class IsolatedLauncher(Own):
    """Trains each job in a process of its own, some at a time; a crash is one failed trial."""

    def __init__(self, at_once: int | None = None, devices: Any = None) -> None:
        super().__init__()
        _check_positive("at_once", at_once)
        self.runner = Isolated(at_once, _devices(devices))

    def outcomes(self, jobs: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, Outcome]]:
        """See `Own`."""
        return self.runner.run(jobs, self.around)


NODES = {
    "population": {"_target_": f"{__name__}.PopulationLauncher", "at_once": None, "strategy": "auto"},
    "isolated": {"_target_": f"{__name__}.IsolatedLauncher", "at_once": None, "devices": None},
}
"""What Hydra's config has for `hydra/launcher=NAME`."""


def _check_positive(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        allowed = "an integer at least 1, or null"
        raise ConfigError(f"hydra.launcher.{name}", f"{value!r} is not allowed", allowed=allowed)


def _devices(value: Any) -> list[str]:
    """The devices to share out; null shares out none, and a single number is a list of one."""
    if value is None:
        return []
    found = [value] if isinstance(value, int) else value
    names = [] if isinstance(found, str) or not isinstance(found, Sequence) else list(found)
    if not names or not all(_is_device(name) for name in names):
        allowed = "a list of numbers or names, e.g. [0,1], or null"
        raise ConfigError("hydra.launcher.devices", f"{value!r} is not allowed", allowed=allowed)
    return [str(name) for name in names]


def _is_device(name: Any) -> bool:
    if isinstance(name, str):
        return bool(name.strip()) and "," not in name
    return isinstance(name, int) and not isinstance(name, bool) and name >= 0


def _returned(job: Sequence[str], outcome: Outcome) -> JobReturn:
    found = JobReturn()
    found.overrides, found.status = list(job), JobStatus.COMPLETED
    found.return_value = dataclasses.asdict(outcome)
    return found
