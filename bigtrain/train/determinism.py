"""The same numbers from the same run, to the last bit, also on a GPU.

There, sums are by default taken in whichever order threads come, and the fastest of several algorithms is chosen that
differ in whether they do so. A run that is killed and goes on is then another run than the one that wasn't.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def compiler_options(platform: str, deterministic: bool) -> dict[str, bool]:
    """What XLA is told when it compiles for a platform; CPUs and TPUs always give the same numbers.

    Nothing that isn't deterministic is taken. Which of the algorithms left is the fastest is still measured; the answer
    is kept in the compilation cache beside the program.
    """
    return {"xla_gpu_exclude_nondeterministic_ops": True} if platform == "gpu" and deterministic else {}


@contextmanager
def asking_cudnn(deterministic: bool) -> Iterator[None]:
    """While programs are lowered in the block, the gradient of cuDNN's attention is asked to be deterministic.

    XLA asks for it too, but in XLA up to the one of jax 0.11 only after it has looked the call up by its description,
    so that a program with several layers doesn't find it again when it runs (openxla/xla#46500). Where the description
    says so from the start, it is always the same. JAX has no public way to write into it; without this one function,
    nothing is changed.
    """
    name = "create_dot_product_attention_backend_config"
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    described = getattr(cudnn, name, None)
    if not deterministic or described is None:
        yield
        return

    def asked(*given: Any, is_bwd: bool, **named: Any) -> str:
        config = json.loads(described(*given, is_bwd=is_bwd, **named))
        if is_bwd:
            config["cudnn_fmha_backend_config"]["force_deterministic"] = True
        return json.dumps(config)

    setattr(cudnn, name, asked)
    try:
        yield
    finally:
        setattr(cudnn, name, described)
