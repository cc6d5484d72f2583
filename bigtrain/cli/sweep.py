"""`bigtrain fit -m`: many runs."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.cli import sweep_report
from bigtrain.cli.fit import check_loggers, checked_of, flags
from bigtrain.config.check import Checked
from bigtrain.config.compose import compose_each, to_yaml
from bigtrain.config.duration import Duration
from bigtrain.config.errors import ConfigError, code_of
from bigtrain.config.overrides import key_of
from bigtrain.config.schema import CheckpointConfig
from bigtrain.config.sweep_schema import SweepChoice, read
from bigtrain.config.sweeps import typed_as
from bigtrain.config.trust import Trust
from bigtrain.run.directory import check_named
from bigtrain.sweep import checks

if TYPE_CHECKING:
    from bigtrain.data.spec import Dataset
    from bigtrain.sweep.around import Around
    from bigtrain.sweep.conduct import Asked, Conductor
    from bigtrain.sweep.member import Member
    from bigtrain.sweep.results import Sweep
    from bigtrain.sweep.space import Space
    from bigtrain.sweep.trial import Objective, Proposal

LAUNCHING = ("hydra/launcher", "hydra.launcher")


def asked_for(overrides: Sequence[str]) -> bool:
    """Whether overrides ask for a sweep without `-m`."""
    return any(key_of(text).split(".")[0] in ("sweep", "sweep_dir", "hydra/launcher") for text in overrides)


def run(
    overrides: Sequence[str],
    *,
    cfg: bool,
    dry_run: bool,
    as_json: bool,
    config_dir: Path | None,
    trust: Sequence[str],
) -> None:
    """Composes and checks every run of a sweep, trains them, and prints the best."""
    from bigtrain.config import multirun
    from bigtrain.sweep.space import parse_space

    overrides = [text for text in overrides if text != "sweep_dir=null"]  # the default
    config_dir = None if config_dir is None else config_dir.expanduser().resolve()  # jobs may run elsewhere
    mine, launching, typed = _parted(overrides)
    choice = read([text for text in mine if key_of(text) != "sweep_dir"], config_dir, Trust.of(trust))
    kept = [typed_as(key, value) for key, value in choice.common.params.items() if key not in map(key_of, typed)]
    space, base = parse_space([*kept, *typed], config_dir)
    checks.check_own(space, base)
    multirun.check_name(launching)
    last = [f"{item.key}={item.choices[-1] if item.choices else item.text(item.high)}" for item in space]
    first = [f"{item.key}={item.choices[0] if item.choices else item.text(item.low)}" for item in space]
    both = [checked_of(composed, trust) for composed in compose_each(base, [last, first], config_dir)]
    composed, checked, trusted = both[1]  # and the other was checked: an interval is allowed from end to end
    for _, each, _ in both:
        checks.check_run(each, choice.common.score)
    if cfg:
        sys.stdout.write(to_yaml(composed.written))
        return
    from bigtrain.sweep.opening import ordered

    folder = _folder(mine, composed.choices)
    again = "bigtrain " + shlex.join(["fit", "-m", *overrides]) + flags(config_dir, trust)
    if not any(key_of(text) == "sweep_dir" for text in mine):
        again += f" sweep_dir={shlex.quote(str(folder))}"
    wish = _Wish(choice, tuple(base), ordered(space, folder), folder, again, config_dir, tuple(trust))
    wish.conduct(checked, trusted, launching, dry_run=dry_run, as_json=as_json)


@dataclass(frozen=True)
class _Wish:
    """What was typed, understood."""

    choice: SweepChoice
    base: tuple[str, ...]
    space: Space
    folder: Path
    again: str
    config_dir: Path | None
    trust: tuple[str, ...]

    def conduct(
        self, checked: Checked, trusted: Trust, launching: Sequence[str], *, dry_run: bool, as_json: bool
    ) -> None:
        """Checks the first round, and runs the sweep."""
        from bigtrain.config import multirun
        from bigtrain.config.build import build
        from bigtrain.data.load import load_data
        from bigtrain.sweep.around import Around
        from bigtrain.sweep.beforehand import check_data, look
        from bigtrain.sweep.conduct import Conductor
        from bigtrain.sweep.groups import data_of
        from bigtrain.sweep.job import Judge
        from bigtrain.sweep.member import Settings
        from bigtrain.sweep.opening import opened
        from bigtrain.sweep.portion import plugins
        from bigtrain.sweep.search import ChecksRuns
        from bigtrain.tracking.console import Console
        from bigtrain.train.prepare import converter

        common, console = self.choice.common, Console()
        sought = objectives(checked, common.objectives)
        multirun.check_launcher(self.base, launching, plugins()[1].NODES, self.config_dir)
        check_loggers(checked, trusted)
        dataset = load_data(checked, trusted)
        numbers = changeable(checked, trusted, sought, dataset)
        search = build(self.choice.search, trusted, space=self.space, objectives=sought, numbers=numbers)
        if isinstance(search, ChecksRuns):
            search.check(checked.run, converter(checked.run, len(dataset.splits["train"]))[0].steps)
        settings = Settings(Judge(sought, common.score), self.config_dir and str(self.config_dir), self.trust)
        asked = self._asked(checked)
        around = Around(settings, console.say, until=asked.until, datasets={data_of(checked): dataset})
        first, every = self._first(search.propose(()), asked, around, launching)
        prints = look(every, around.datasets)
        if dry_run:
            sweep_report.plan(self.choice.name, asked.keys, len(first), as_json=as_json)
            return
        ledger = opened(
            self.folder, self._facts(sought), common.retry, first, self.space, partial(check_data, prints=prints)
        )
        console.say(f"sweep     {self.choice.name} over {', '.join(asked.keys)} in {self.folder}")
        conductor = Conductor(asked, search, ledger, around, console)
        found = self._swept(conductor, launching)
        sweep_report.result(found, as_json=as_json, score=common.score)
        if (number := around.listener.received) is not None or conductor.cut_short:
            why = "stopped" if number is not None else f"time is up (sweep.timeout={common.timeout})"
            console.say(f"{why}; what was trained is kept. To go on:", style="bold")
            console.say(f"  {self.again}")
        if number is not None:
            raise SystemExit(code_of(number))
        if found.trials and all(trial.state == "failed" for trial in found.trials):
            raise SystemExit(1)

    def _first(
        self, proposals: Sequence[Proposal], asked: Asked, around: Around, launching: Sequence[str]
    ) -> tuple[list[Member], list[Member]]:
        """The first round, understood; and all of that and of every other value of a list, before anything starts.

        A run that rests first is told where, and that hides a `stop_at` of its own: its values are looked at as well.
        """
        from bigtrain.sweep.space import unmet
        from bigtrain.sweep.trial import Proposal

        first = asked.understood(proposals, around)
        every = list(first)
        for others in unmet(self.space, [item.values for item in proposals if item.until == 1.0]):
            every += asked.understood([Proposal(values) for values in others], around, len(first))
        checks.check_one_process([member.checked for member in every], launching)
        return first, every

    def _asked(self, checked: Checked) -> Asked:
        from bigtrain.sweep.conduct import Asked

        common, keys = self.choice.common, tuple(item.key for item in self.space)
        until = None if common.seconds is None else time.monotonic() + common.seconds
        more = flags(self.config_dir, self.trust)
        return Asked(self.folder, self.again, self.base, keys, _sparing(checked), until, more, self.space)

    def _swept(self, conductor: Conductor, launching: Sequence[str]) -> Sweep:
        """Hands the sweep to Hydra, and listens for signals meanwhile."""
        from bigtrain.config import multirun
        from bigtrain.sweep.hydra_job import Job
        from bigtrain.sweep.portion import plugins
        from bigtrain.sweep.under_way import conducted_by
        from bigtrain.train import interrupt

        sweeper, launchers = plugins()
        nodes = ({"_target_": f"{sweeper.__name__}.BigtrainSweeper"}, launchers.NODES)
        classes = (sweeper.BigtrainSweeper, launchers.PopulationLauncher, launchers.IsolatedLauncher)
        job, folder = Job.of(conductor), self.folder.absolute()
        try:
            with interrupt.requests() as conductor.around.listener, conducted_by(conductor):
                found: Sweep = multirun.run(self.base, launching, folder, *nodes, classes, job, self.config_dir)
        finally:
            conductor.ledger.close()
        return found

    def _facts(self, sought: Sequence[Objective]) -> dict[str, Any]:
        """What has to be the same when the sweep goes on: more values and more trials may come, and nothing else."""
        search = self.choice.search
        fields = {name: value for name, value in sorted(search.arguments.items()) if name != "trials"}
        intervals = {item.key: [item.low, item.high, item.log, item.integer] for item in self.space if item.continuous}
        return {
            "base": sorted(self.base),
            "keys": [item.key for item in self.space],
            "intervals": intervals,
            "objectives": [f"{item.name}:{item.mode}" for item in sought],
            "score": self.choice.common.score,
            "search": json.loads(json.dumps([search.callee.target, fields])),
        }


def objectives(checked: Checked, named: Sequence[str]) -> tuple[Objective, ...]:
    """What a sweep looks for the best of; by default what the runs themselves choose their best checkpoint by."""
    from bigtrain.checkpoint import Checkpoints
    from bigtrain.config.schema import CheckpointConfig
    from bigtrain.sweep.trial import Objective

    found = []
    for text in named or (checked.run.checkpoint.monitor,):
        name, _, mode = text.partition(":")
        if mode not in ("", "min", "max"):
            raise ConfigError("sweep.objectives", f"{text!r} is not allowed", allowed="METRIC, METRIC:min, METRIC:max")
        if name in [objective.name for objective in found]:
            raise ConfigError("sweep.objectives", f"{name!r} is in it twice", hint="leave one out")
        own = name == checked.run.checkpoint.monitor  # then checkpoint.mode is of it
        kept = checked.run.checkpoint if own else CheckpointConfig(monitor=name)
        found.append(Objective(name, mode or Checkpoints(Path(), kept).mode))  # type: ignore[arg-type]
    return tuple(found)


def changeable(checked: Checked, trusted: Trust, sought: Sequence[Objective], dataset: Dataset) -> frozenset[str]:
    """The keys that may change in the middle of a run: numbers of its program that are no facts of its beginning.

    Raises:
        ConfigError: when the runs don't report what is sought.
    """
    from bigtrain.parallel import mesh as meshes
    from bigtrain.parallel.rules import Rules
    from bigtrain.train.prepare import check_metric, outline

    meshes.simulate(checked.run.mesh)
    made = outline(checked, trusted, dataset, Rules.of(meshes.make(checked.run.mesh), checked.run.mesh))
    for objective in sought:
        if objective.name == "parameters":
            continue
        check_metric("sweep.objectives", objective.name, made.definition.make_task(made.values), "parameters")
        if "validation" not in dataset.splits:
            hint = "hold some examples out: data.validation=0.1"
            raise ConfigError("sweep.objectives", f"data {dataset.spec.name!r} has no validation split", hint=hint)
    return frozenset(made.values) - {"seed", "total_steps"}


def _parted(overrides: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The overrides of the sweep itself, those of its launcher, and those of its runs."""
    mine, launching, typed = [], [], []
    for text in overrides:
        key = key_of(text)
        if key == "hydra/sweeper" or key.startswith("hydra.sweep"):
            raise ConfigError(
                key, "is set by bigtrain", hint="a search is chosen with sweep=NAME: bigtrain configs sweep"
            )
        if key.startswith(LAUNCHING):
            launching.append(text)
        elif key.split(".")[0] in ("sweep", "sweep_dir"):
            mine.append(text)
        else:
            typed.append(text)
    if not any(key_of(text) == "hydra/launcher" for text in launching):
        launching.insert(0, "hydra/launcher=population")
    return mine, launching, typed


def _sparing(checked: Checked) -> tuple[str, ...]:
    """Members are saved at their end and by the clock, where nothing else is asked for.

    Most of a short run's time would go into its checkpoints.
    """
    asked, usual = checked.run.checkpoint, CheckpointConfig()
    same = all(getattr(asked, name) == getattr(usual, name) for name in ("minutes", "keep", "keep_every"))
    same = same and Duration.parse(asked.every) == Duration.parse(usual.every)
    return ("checkpoint.every=100%", "checkpoint.minutes=0.2") if same else ()


def _folder(mine: Sequence[str], choices: dict[str, Any]) -> Path:
    """The sweep's directory, as typed or named by the time."""
    typed = [text.split("=", 1)[1] for text in mine if key_of(text) == "sweep_dir" and "=" in text]
    if typed:
        if not typed[-1].strip():
            raise ConfigError("sweep_dir", f"{typed[-1]!r} is not allowed", allowed="a folder, e.g. sweeps/first")
        return _writable(Path(typed[-1].strip("'\"")).expanduser())
    name = "-".join([datetime.now().strftime("%Y%m%d-%H%M%S"), str(choices.get("model")), str(choices.get("data"))])
    return _writable(Path("sweeps") / name.replace("/", "-"))


def _writable(folder: Path) -> Path:
    """The folder, whose name can be written down."""
    check_named("sweep_dir", folder)
    return folder
