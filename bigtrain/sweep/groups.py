"""Members that differ in numbers alone: they share one compiled program, and the data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from bigtrain.config import numbers as config_numbers
from bigtrain.config.check import Checked, Node
from bigtrain.config.duration import Duration
from bigtrain.config.schema import COMPONENTS, RunConfig
from bigtrain.data.load import check_batch, load_data
from bigtrain.data.placement import Resident
from bigtrain.data.sampler import Order
from bigtrain.data.spec import Dataset
from bigtrain.sweep.member import Member
from bigtrain.train.once import Once
from bigtrain.train.prepare import Prepared, converter, definition, given_numbers, prepare

FREE = (
    "seed", "run_dir", "steps", "stop_at", "eval_every", "log_every", "checkpoint", "early_stopping", "loggers", "plan",
    "plugins", "profile", "profile_from", "profile_steps", "distributed", "compilation_cache", "nonfinite_limit",
    "watchdog", *COMPONENTS, "augment",
)  # fmt: skip
"""Keys of the spine that no program depends on, and components, which are looked at one by one."""

OPTIONAL = ("clip_norm", "ema", "skip_spikes")
"""Numbers of the spine: a program depends on whether they are given, not on their value."""


@dataclass(frozen=True)
class Group:
    """Members that one compiled program trains; `shared` is the run of the first."""

    shared: Prepared
    members: tuple[Member, ...]

    def ready(self, member: Member) -> Prepared:
        """A member's run: the same program and data, its own numbers and its own order of the data."""
        run, shared = member.checked.run, self.shared
        lengths, to_steps = converter(run, len(shared.dataset.splits["train"]))
        values = given_numbers(member.checked, shared.program.recipe.fields, lengths, to_steps)
        order = Order(shared.placement.order.size, run.batch_size, run.seed)
        return dataclasses.replace(
            shared,
            run=run,
            lengths=lengths,
            values={name: values[name] for name in shared.values},
            placement=dataclasses.replace(shared.placement, order=order),
            compile_seconds=0.0,
        )


@dataclass(frozen=True)
class Refused:
    """A member whose run can't be prepared, and why."""

    member: Member
    error: Exception


class Programs:
    """The compiled programs of a sweep, each made once and kept for the members that come later."""

    def __init__(self, datasets: Mapping[str, Dataset] = MappingProxyType({})) -> None:
        self._made: dict[str, list[Prepared]] = {}
        self._data = dict(datasets)  # what is loaded, by `data_of`
        self._arrays: dict[str, dict[str, Any]] = {}  # training sets on the devices: one of each is enough
        self._once: dict[str, Once] = {}  # and what else is found out of them

    @property
    def number(self) -> int:
        """How many were compiled."""
        return sum(len(entries) for entries in self._made.values())

    def groups(self, members: Sequence[Member], over: Callable[[], bool] = lambda: False) -> Iterator[Group | Refused]:
        """Members by the program that trains them, compiled when its group's turn comes; none is once it is `over`."""
        alike: dict[str, list[Member]] = {}
        for member in members:
            alike.setdefault(coarse(member.checked), []).append(member)
        for kind, left in alike.items():
            while left:
                if over():
                    return
                first, *left = left
                try:
                    shared = self._program(kind, first)
                    wanted = _fine(first, shared)
                except Exception as error:  # of the compiler, or of code that isn't ours, too
                    yield Refused(first, error)
                    continue
                same, others = [first], []
                for member in left:
                    try:
                        (same if _fine(member, shared) == wanted else others).append(member)
                    except Exception as error:
                        yield Refused(member, error)
                yield Group(shared, tuple(same))
                left = others

    def _program(self, kind: str, member: Member) -> Prepared:
        """The program that trains a member: one of those that were compiled, or a new one."""
        dataset = self._dataset(member)
        for shared in self._made.get(kind, ()):
            if _fine(member, shared) == _fine_of(shared):
                return shared
        ready = prepare(member.checked, member.trusted, dataset)
        if isinstance(ready.placement, Resident):
            arrays = self._arrays.setdefault(_mesh_and_data(member), ready.placement.arrays)
            ready = dataclasses.replace(ready, placement=dataclasses.replace(ready.placement, arrays=arrays))
        ready = dataclasses.replace(ready, once=self._once.setdefault(_mesh_and_data(member), ready.once))
        self._made.setdefault(kind, []).append(ready)
        return ready

    def _dataset(self, member: Member) -> Dataset:
        key = data_of(member.checked)
        if key not in self._data:
            self._data[key] = load_data(member.checked, member.trusted)
        check_batch(member.checked, self._data[key])
        return self._data[key]


def data_of(checked: Checked) -> str:
    """What configs have in common that load the same data."""
    return _text(_node(checked.nodes["data"], ()))


def _mesh_and_data(member: Member) -> str:
    """What members have in common whose data is on the same devices in the same way."""
    return _text([data_of(member.checked), member.checked.run.mesh])


def coarse(checked: Checked) -> str:
    """All that a program may depend on but the numbers of components."""
    run = checked.run
    spine = {field.name: getattr(run, field.name) for field in dataclasses.fields(RunConfig) if field.name not in FREE}
    spine |= {name: getattr(run, name) is not None for name in OPTIONAL}
    nodes = {name: _node(node, _numbers_of(node)) for name, node in checked.nodes.items() if name != "data"}
    nodes["data"] = _node(checked.nodes["data"], ())
    augment = [_node(node, _numbers_of(node)) for node in checked.augment.values()]
    return _text([spine, nodes, augment])


def _fine(member: Member, shared: Prepared) -> str:
    """The numbers that are constants of this program, and whether the model is the same but for its numbers."""
    checked = member.checked
    made = definition(checked, member.trusted, shared.dataset)
    own = shared.program.definition.model
    alike = made.model.arguments == own.arguments or made.recipe()[0] == shared.program.recipe
    return _text([_constants((*checked.nodes.values(), *checked.augment.values()), shared), alike])


def _fine_of(shared: Prepared) -> str:
    """The same of the run that the program was compiled for."""
    made = shared.program.definition
    chain = made.chain
    return _text([_constants((made.model, made.task, chain.optimizer, chain.schedule, *made.augment), shared), True])


def _constants(nodes: Sequence[Node], shared: Prepared) -> dict[str, Any]:
    """The numbers of components that are no arguments of a program, by path."""
    return {
        f"{node.path}.{name}": node.arguments.get(name)
        for node in nodes
        for name in _numbers_of(node)
        if node.path != "data" and f"{node.path}.{name}" not in shared.values
    }


def _numbers_of(node: Node) -> tuple[str, ...]:
    """The fields of a component that are real numbers or durations."""
    found = config_numbers.of(node, lambda duration: int(Duration.parse(duration).amount))
    return tuple(path.removeprefix(f"{node.path}.") for path in found)


def _node(node: Node, without: Sequence[str]) -> Mapping[str, Any]:
    arguments = {name: value for name, value in node.arguments.items() if name not in without}
    return {"target": node.callee.target, "arguments": arguments, "numbers": sorted(without)}


def _text(value: Any) -> str:
    def plain(item: Any) -> Any:
        return dataclasses.asdict(item) if dataclasses.is_dataclass(item) and not isinstance(item, type) else repr(item)

    return json.dumps(value, sort_keys=True, default=plain)
