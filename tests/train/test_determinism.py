"""What is asked of XLA and cuDNN so that a GPU gives the same numbers each time."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn

from bigtrain.train.determinism import asking_cudnn, compiler_options


def test_only_a_gpu_is_told(monkeypatch):
    def products(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: y @ x, x)

    def windows(x):
        return jax.jit(lambda y: jax.lax.scan(lambda c, _: (convolved(c), None), y, None, length=2)[0])(x)

    def convolved(x):
        return jax.lax.conv(x[None, None], jnp.ones((1, 1, 3, 3)), (1, 1), "SAME")[0, 0]

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91_000)
    attention = partial(jax.nn.dot_product_attention, implementation="cudnn")
    attended = jax.make_jaxpr(attention)(*[jnp.ones((2, 8, 2, 8), jnp.bfloat16)] * 3)
    assert compiler_options("gpu", True, attended) == {"xla_gpu_exclude_nondeterministic_ops": True}
    traced, windowed = (jax.make_jaxpr(function)(jnp.ones((4, 4))) for function in (products, windows))
    assert compiler_options("gpu", True, traced) == {"xla_gpu_enable_scatter_determinism_expander": True}
    assert compiler_options("gpu", True, windowed) == {"xla_gpu_exclude_nondeterministic_ops": True}
    assert compiler_options("gpu", False, windowed) == {}
    assert compiler_options("cpu", True, windowed) == compiler_options("tpu", True, traced) == {}


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("backward", [True, False])
def test_the_gradient_of_attention_is_described_as_deterministic(monkeypatch, deterministic, backward):
    given = {"cudnn_fmha_backend_config": {"fmha_scale": 1.0}}
    name = "create_dot_product_attention_backend_config"
    monkeypatch.setattr(cudnn, name, lambda *given_, is_bwd: json.dumps(given))
    with asking_cudnn(deterministic):
        found = json.loads(getattr(cudnn, name)(1, 2, is_bwd=backward))["cudnn_fmha_backend_config"]
    assert found.get("force_deterministic", False) == (deterministic and backward)
    assert json.loads(getattr(cudnn, name)(1, 2, is_bwd=backward)) == given  # afterwards it is as it was
