"""One run of a sweep, trained in this process: composed, built and saved as any other run."""

from __future__ import annotations

import dataclasses
import functools
import json
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bigtrain.config import schema
from bigtrain.config.check import Checked, check
from bigtrain.config.compose import Composed, compose_each, to_yaml
from bigtrain.config.errors import BigtrainError, InputError
from bigtrain.config.secrets import hidden
from bigtrain.config.trust import Trust
from bigtrain.data.load import load_data
from bigtrain.run.clock import Clock
from bigtrain.run.directory import RunDirectory, differences
from bigtrain.run.lock import Taken
from bigtrain.sweep.checks import check_run
from bigtrain.sweep.job import ERROR, Judge, Outcome, failure, run_dir_of, typed
from bigtrain.sweep.trial import Objective
from bigtrain.tracking.console import Console
from bigtrain.train.fit import fit
from bigtrain.train.hooks import Interrupted
from bigtrain.train.interrupt import Requests
from bigtrain.train.prepare import Prepared, prepare


@dataclass(frozen=True)
class Member:
    """A job, understood: its config is composed and checked, and nothing is built."""

    overrides: tuple[str, ...]
    composed: Composed
    checked: Checked
    trusted: Trust

    @functools.cached_property
    def path(self) -> Path:
        """Its run directory."""
        return run_dir_of(self.overrides)

    @functools.cached_property
    def stop_at(self) -> str | None:
        """Where it is told to rest, as typed."""
        return typed(self.overrides, "stop_at")


@dataclass(frozen=True)
class Settings:
    """What all jobs of a sweep share beside their config: how they are judged, and where code and configs come from."""

    judge: Judge
    config_dir: str | None = None
    trust: tuple[str, ...] = ()

    def to_json(self) -> str:
        """For a process of its own; `from_json` is the way back."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """What `to_json` wrote."""
        found = json.loads(text)
        objectives = tuple(Objective(**item) for item in found["judge"]["objectives"])
        return cls(Judge(objectives, found["judge"]["score"]), found["config_dir"], tuple(found["trust"]))


def members(jobs: Sequence[Sequence[str]], settings: Settings) -> list[Member]:
    """Each job's config, composed and checked; raises `ConfigError` for the first that is not allowed in a sweep."""
    shared = list(jobs[0]) if jobs else []
    for job in jobs[1:]:
        shared = [text for text in shared if text in job]
    own = [[text for text in job if text not in shared] for job in jobs]
    found = []
    for job, composed in zip(jobs, compose_each(shared, own, settings.config_dir), strict=True):
        trusted = Trust.of(settings.trust, composed.resolved.get("plugins") or ())
        member = Member(tuple(job), composed, check(composed.resolved, trusted), trusted)
        check_run(member.checked, settings.judge.score, rests=member.stop_at is not None)
        found.append(member)
    return found


class Silent(Console):
    """The console of a run that is one of many: the sweep speaks for it."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def say(self, text: str = "", style: str = "") -> None:
        """Nothing."""

    def advance(self, step: int) -> None:
        """Nothing."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Nothing."""


class Request(Requests):
    """Asks every member to save and end, once the sweep is told to."""

    def __init__(self, sweep: Requests) -> None:
        super().__init__()
        self.sweep = sweep

    def __call__(self) -> int | None:
        """The number of the signal, or None."""
        return self.sweep()


def run(overrides: Sequence[str], settings: Settings, listener: Requests | None = None) -> Outcome:
    """A job from its overrides alone, as a process of its own runs it."""
    try:
        (member,) = members([overrides], settings)
        before = finished(member, settings.judge)
        if before is not None:
            return written(before, member.path)
        ready = prepare(member.checked, member.trusted, load_data(member.checked, member.trusted))
    except Exception as error:
        return failed(error, run_dir_of(overrides), typed(overrides, "stop_at"))
    return train(member, ready, settings.judge, listener)


def finished(member: Member, judge: Judge) -> Outcome | None:
    """The outcome of a member that has nothing left to do; its trial may not have been told before a crash."""
    if not RunDirectory.exists(member.path):
        return None
    check_same(member)
    result = RunDirectory(member.path).result()
    return None if result is None else judge.outcome(result, member.stop_at)


def train(member: Member, ready: Prepared, judge: Judge, listener: Requests | None = None) -> Outcome:
    """Trains a member to where it is to rest or end; whatever goes wrong with it is its outcome.

    Args:
        member: the job.
        ready: its compiled run.
        judge: how its result is scored.
        listener: asks it to save and end.
    """
    try:
        directory = directory_of(member)
        result = fit(
            ready,
            member.checked,
            member.trusted,
            directory,
            Silent(),
            Clock(),
            listener=listener,
            alone=False,
            explains=False,
            config=member.composed.written,
        )
        result.setdefault("parameters", sum(leaf.size for leaf in ready.program.abstract.params.values()))
        outcome = judge.outcome(result, member.stop_at)
    except Taken:  # by what a killed sweep has left running: it will be found finished, or be gone on from
        return Outcome("waiting", stop_at=member.stop_at)
    except Interrupted as stopped:
        return Outcome("waiting", stop_at=member.stop_at, steps=stopped.step)
    except Exception as error:
        return failed(error, member.path, member.stop_at)
    return written(outcome, member.path)


def failed(error: Exception, directory: Path, stop_at: str | None) -> Outcome:
    """The outcome of a member that an error has ended; of an error that is none of its own, the traceback is kept."""
    outcome = failure(error, stop_at)
    if not isinstance(error, BigtrainError) and not outcome.machine:
        _keep(hidden("".join(traceback.format_exception(error))), directory)
    return written(outcome, directory)


def directory_of(member: Member) -> RunDirectory:
    """The run directory of a member, new or to be continued; one of another config is refused."""
    yaml = to_yaml(member.composed.written)
    if not RunDirectory.exists(member.path):
        return RunDirectory.create(member.path, yaml, member.overrides)
    check_same(member)
    directory = RunDirectory(member.path)
    directory.keep(yaml, member.overrides)
    return directory


def check_same(member: Member, *, recorded: bool = False) -> None:
    """Refuses the run directory of another config, or of a run of another length, whose results are not this member's.

    Args:
        member: the job.
        recorded: its outcome is known: how long its run has been made since, as any run may, is nothing to its trial.

    Raises:
        InputError: with what differs.
    """
    if not RunDirectory.exists(member.path):
        return
    before, now = RunDirectory(member.path).config(), member.composed.written
    later = {key for key, value in schema.defaults().items() if key not in before and now.get(key) == value}
    # a key that the version which trained it didn't have yet
    changes = [item for item in differences(before, now) if item[0].split(".")[0] not in later]
    longer = str(before.get("steps")) != str(now.get("steps"))  # a run by itself may be made longer, a trial may not
    if longer and not recorded:
        changes.append(("steps", before.get("steps"), now.get("steps")))
    if changes:
        lines = "\n".join(f"  {path}: {there!r} there, {here!r} here" for path, there, here in changes[:12])
        problem = f"{str(member.path)!r} has been trained with another config"
        raise InputError(f"sweep_dir: {problem}\n{lines}\n  choose another sweep_dir")


def written(outcome: Outcome, directory: Path) -> Outcome:
    """The outcome, once it is on disk; where the disk itself fails, the trial waits for another start."""
    if outcome.machine:
        return dataclasses.replace(outcome, state="waiting")
    try:
        outcome.write(directory)
    except OSError as error:
        return dataclasses.replace(failure(error, outcome.stop_at), state="waiting", machine=True)
    return outcome


def _keep(text: str, directory: Path) -> None:
    """Where a failure isn't one of the run's own, its traceback helps whoever mends it."""
    with suppress(OSError):  # the trial's error says it in a line
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / ERROR).write_text(text, encoding="utf-8")
