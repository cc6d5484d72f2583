"""The same numbers from the same run, to the last bit, also on a GPU.

There, sums are by default taken in whichever order threads come, and the fastest of several algorithms is chosen that
differ in whether they do so. A run that is killed and goes on is then another run than the one that wasn't.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr

from bigtrain.train.flops import ATTENTION, jaxprs_in


def compiler_options(platform: str, deterministic: bool, traced: ClosedJaxpr) -> dict[str, bool]:
    """What XLA is told when it compiles a program for a platform; CPUs and TPUs always give the same numbers.

    Products of matrices do so on a GPU too, once the fastest algorithm is chosen, which the compilation cache keeps.
    cuDNN has to be kept from convolutions and gradients of attention that don't, which also keeps XLA from trying which
    algorithm of a product is the fastest.
    """
    if platform != "gpu" or not deterministic:
        return {}
    if any(name == "conv_general_dilated" or name in ATTENTION for name in primitives(traced.jaxpr)):
        return {"xla_gpu_exclude_nondeterministic_ops": True}
    return {"xla_gpu_enable_scatter_determinism_expander": True}


def primitives(jaxpr: Jaxpr) -> Iterator[str]:
    """The names of its operations, those inside of loops and calls too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in jaxprs_in(equation.params):
            yield from primitives(inner)


_ONE_BY_ONE = threading.RLock()
"""The members of a sweep are threads, and what is changed in JAX while one lowers its program holds for all."""


@contextmanager
def asking_cudnn(deterministic: bool) -> Iterator[None]:
    """While programs are lowered in the block, the gradient of cuDNN's attention is asked to be deterministic.

    XLA asks for it too where `compiler_options` tell it, but up to the one of jax 0.11 only after it has looked up
    the call by its description, so that a program with several layers doesn't find it again when it runs
    (openxla/xla#46500). Where the description says so from the start, it is always the same; where only one of
    the two says so, it fails as well. JAX has no public way to write into it; without this one function, nothing is
    changed.
    """
    name = "create_dot_product_attention_backend_config"
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    with _ONE_BY_ONE:
        described = getattr(cudnn, name, None)
        if not deterministic or described is None:
            yield
            return
        try:
            setattr(cudnn, name, _asked(described))
            yield
        finally:
            setattr(cudnn, name, described)


def _asked(described: Callable[..., str]) -> Callable[..., str]:
    """The same description of a call, of a gradient with the wish for one that is deterministic."""

    def asked(*given: Any, is_bwd: bool, **named: Any) -> str:
        config = json.loads(described(*given, is_bwd=is_bwd, **named))
        if is_bwd:
            config["cudnn_fmha_backend_config"]["force_deterministic"] = True
        return json.dumps(config)

    return asked
