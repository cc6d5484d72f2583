"""The whole update rule as one Optax transformation, put together while the program is traced."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers

from bigtrain.config import numbers as config_numbers
from bigtrain.config.build import build
from bigtrain.config.check import Node
from bigtrain.config.errors import ConfigError, did_you_mean
from bigtrain.config.trust import Trust
from bigtrain.models.layers import STACKED
from bigtrain.optim import spikes
from bigtrain.optim.schedule import Shape

Numbers = Mapping[str, Any]
_NOT_TRACEABLE = (jax.errors.ConcretizationTypeError, TypeError, ValueError, ConfigError)

LOOKED_UP = {"embedding", "table", "tables", "position", "class_token"}
"""Names, in a parameter's dotted path, of tables of which rows are taken."""


@dataclass(frozen=True)
class Chain:
    """Clip, update rule with schedule and decay mask, freeze: what `optimizer` and its neighbours in the config say."""

    optimizer: Node
    schedule: Node
    trusted: Trust
    clip: bool = False
    freeze: tuple[str, ...] = ()
    spikes: bool = False  # whether the norm of the gradient is compared with its running average

    def shape(self, numbers: Numbers) -> Shape:
        """The schedule as a function of the step."""
        filled = config_numbers.fill(self.schedule, numbers)
        shape: Shape = build(filled, self.trusted, total_steps=numbers["total_steps"])
        return shape

    def learning_rate(self, numbers: Numbers, step: jax.Array) -> jax.Array:
        """The learning rate at a step, in the optimizer's own units."""
        rate = self._rate(numbers)
        return self.shape(numbers)(step) * (1.0 if rate is None else rate)

    def transformation(self, numbers: Numbers) -> optax.GradientTransformationExtraArgs:
        """The transformation for these numbers, which may be traced values."""
        node = config_numbers.fill(self.optimizer, numbers)
        rate = self._rate(numbers)
        if rate is not None:
            shape = self.shape(numbers)
            node = dataclasses.replace(
                node, arguments={**node.arguments, "learning_rate": lambda count: rate * shape(count)}
            )
        rule = build(node, self.trusted, mask=decays, weight_decay_mask=decays, muon_weight_dimension_numbers=matrices)
        if not isinstance(rule, optax.GradientTransformation):
            raise ConfigError("optimizer._target_", f"{node.callee.target!r} made no Optax transformation")
        if self.clip:
            rule = optax.chain(optax.clip_by_global_norm(numbers["clip_norm"]), rule)
        if self.freeze:
            rule = optax.partition({"train": rule, "freeze": optax.set_to_zero()}, self._labels)
        if self.spikes:
            rule = optax.chain(spikes.compared(), rule)
        return optax.with_extra_args_support(rule)

    def traceable(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The optimizer's numbers that may be traced; Optax rules that branch on one keep it as a constant.

        Raises `ConfigError` for a rule that asks for more than gradients and parameters, such as the loss itself.
        """
        own = {path: value for path, value in numbers.items() if path.startswith("optimizer.")}
        if self._refusal(numbers, own) is None:
            return dict(numbers)
        constant = {path for path, value in own.items() if self._refusal(numbers, {path: value}) is not None}
        refusal = self._refusal(numbers, {path: value for path, value in own.items() if path not in constant})
        if isinstance(refusal, ConfigError):
            raise refusal
        if refusal is not None:
            problem = f"{self.optimizer.callee.target!r} can't be used: {refusal}"
            raise ConfigError("optimizer._target_", problem, hint="a rule may use gradients and parameters only")
        return {path: value for path, value in numbers.items() if path not in constant}

    def check_freeze(self, names: list[str]) -> None:
        """Refuses a pattern of `freeze` that names no parameter, and patterns that leave none to train."""
        for pattern in self.freeze:
            if not fnmatch.filter(names, pattern):
                hint = did_you_mean(pattern, [*names, *(f"{name.split('.')[0]}*" for name in names)])
                raise ConfigError("freeze", f"{pattern!r} matches no parameter", allowed=names[:20], hint=hint)
        if names and all(map(self._frozen, names)):
            problem = f"{list(self.freeze)} matches every parameter: nothing would be trained"
            raise ConfigError("freeze", problem, allowed=names[:20], hint="leave at least one of them out")

    def _rate(self, numbers: Numbers) -> Any:
        """The learning rate as given, or the rule's own default where that is a number."""
        node = config_numbers.fill(self.optimizer, numbers)
        parameter = node.callee.parameters.get("learning_rate")
        default = parameter.default if parameter and isinstance(parameter.default, (int, float)) else None
        return node.arguments.get("learning_rate", default)

    def _refusal(self, numbers: Mapping[str, float], traced: Mapping[str, float]) -> Exception | None:
        """Why a step can't be compiled with these numbers traced and the others constant; None when it can."""
        params = {"kernel": jnp.zeros((4, 4)), "bias": jnp.zeros(4)}
        constants = {
            path: value for path, value in numbers.items() if path not in traced and not path.startswith("optimizer.")
        }
        bare = dataclasses.replace(self, freeze=())

        def once(given: Mapping[str, Any]) -> Any:
            rule = bare.transformation({**constants, **given})
            return rule.update(params, rule.init(params), params)

        try:
            jax.eval_shape(once, {path: jnp.float32(value) for path, value in traced.items()})
        except _NOT_TRACEABLE as error:
            return error
        return None

    def _labels(self, params: Mapping[str, jax.Array]) -> dict[str, str]:
        return {name: "freeze" if self._frozen(name) else "train" for name in params}

    def _frozen(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.freeze)


def decays(params: Mapping[str, jax.Array]) -> dict[str, bool]:
    """Which parameters are decayed: matrices; biases, norms and other vectors are not.

    A tree map, because a rule that splits the parameters (muon, freezing) leaves an empty node where one isn't its own.
    """
    mask: dict[str, bool] = jax.tree_util.tree_map_with_path(lambda path, value: _rank(path, value) >= 2, dict(params))
    return mask


def matrices(params: Mapping[str, jax.Array]) -> dict[str, MuonDimensionNumbers | None]:
    """The two dims of each matrix, for muon, which leaves all else to Adam; those of stacked layers one by one.

    What is looked up instead of multiplied (embeddings, learned positions) is left to Adam too (Jordan 2024).
    """

    def dims(path: tuple[Any, ...], value: jax.Array) -> MuonDimensionNumbers | None:
        multiplied = _rank(path, value) == 2 and LOOKED_UP.isdisjoint(str(path[-1].key).split("."))
        return MuonDimensionNumbers(value.ndim - 2, value.ndim - 1) if multiplied else None

    found: dict[str, MuonDimensionNumbers | None] = jax.tree_util.tree_map_with_path(dims, dict(params))
    return found


def _rank(path: tuple[Any, ...], value: jax.Array) -> int:
    """The dims of a parameter, without that which numbers the layers of a stack."""
    return value.ndim - (STACKED in str(path[-1].key).split("."))
