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

from bigtrain.config import numbers as config_numbers
from bigtrain.config.build import build
from bigtrain.config.check import Node
from bigtrain.config.errors import ConfigError, did_you_mean
from bigtrain.config.trust import Trust
from bigtrain.optim.schedule import Shape

Numbers = Mapping[str, Any]
_NOT_TRACEABLE = (jax.errors.ConcretizationTypeError, TypeError, ConfigError)


@dataclass(frozen=True)
class Chain:
    """Clip, update rule with schedule and decay mask, freeze: what `optimizer` and its neighbours in the config say."""

    optimizer: Node
    schedule: Node
    trusted: Trust
    clip: bool = False
    freeze: tuple[str, ...] = ()

    def shape(self, numbers: Numbers) -> Shape:
        """The schedule as a function of the step."""
        filled = config_numbers.fill(self.schedule, numbers)
        shape: Shape = build(filled, self.trusted, total_steps=numbers["total_steps"])
        return shape

    def learning_rate(self, numbers: Numbers, step: jax.Array) -> jax.Array:
        """The learning rate at a step, in the optimizer's own units."""
        return self.shape(numbers)(step) * numbers.get("optimizer.learning_rate", 1.0)

    def transformation(self, numbers: Numbers) -> optax.GradientTransformationExtraArgs:
        """The transformation for these numbers, which may be traced values."""
        node = config_numbers.fill(self.optimizer, numbers)
        rate = node.arguments.get("learning_rate")
        if rate is not None:
            shape = self.shape(numbers)
            node = dataclasses.replace(
                node, arguments={**node.arguments, "learning_rate": lambda count: rate * shape(count)}
            )
        rule = build(node, self.trusted, mask=decays, weight_decay_mask=decays)
        if not isinstance(rule, optax.GradientTransformation):
            raise ConfigError("optimizer._target_", f"{node.callee.target!r} made no Optax transformation")
        if self.clip:
            rule = optax.chain(optax.clip_by_global_norm(numbers["clip_norm"]), rule)
        if self.freeze:
            rule = optax.partition({"train": rule, "freeze": optax.set_to_zero()}, self._labels)
        return optax.with_extra_args_support(rule)

    def traceable(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The optimizer's numbers that may be traced; Optax rules that branch on one keep it as a constant."""
        own = {path: value for path, value in numbers.items() if path.startswith("optimizer.")}
        if self._traces(numbers, own):
            return dict(numbers)
        constant = {path for path, value in own.items() if not self._traces(numbers, {path: value})}
        return {path: value for path, value in numbers.items() if path not in constant}

    def check_freeze(self, names: list[str]) -> None:
        """Refuses a pattern of `freeze` that names no parameter."""
        for pattern in self.freeze:
            if not fnmatch.filter(names, pattern):
                raise ConfigError(
                    "freeze", f"{pattern!r} matches no parameter", allowed=names[:20], hint=did_you_mean(pattern, names)
                )

    def _traces(self, numbers: Mapping[str, float], traced: Mapping[str, float]) -> bool:
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
        except _NOT_TRACEABLE:
            return not traced
        return True

    def _labels(self, params: Mapping[str, jax.Array]) -> dict[str, str]:
        return {name: "freeze" if self._frozen(name) else "train" for name in params}

    def _frozen(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.freeze)


def decays(params: Mapping[str, jax.Array]) -> dict[str, bool]:
    """Which parameters are decayed: matrices; biases, norms and other vectors are not."""
    return {name: value.ndim >= 2 for name, value in params.items()}
