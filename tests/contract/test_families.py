"""Each family beats a stated bound on a small real problem, through the code that `bigtrain fit` runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import run_fit

from bigtrain.data.text import text


def test_mlp_on_digits_with_all_defaults(tmp_path: Path) -> None:
    assert run_fit(tmp_path / "run")["test"]["accuracy"] >= 0.965


@pytest.mark.parametrize("cell", [pytest.param("simple", marks=pytest.mark.long), "gru", "lstm"])
def test_rnn_on_the_rows_of_digits(cell: str, tmp_path: Path) -> None:
    result = run_fit(
        tmp_path / "run",
        "model=rnn",
        f"model.cell={cell}",
        "model.width=64",
        "steps=400",
        "optimizer.learning_rate=3e-3",
    )
    assert result["test"]["accuracy"] >= 0.93


def test_vae_on_digits_beats_the_best_product_of_bernoullis(tmp_path: Path) -> None:
    """Independent pixels, each with its own mean: the best that a decoder which ignores its code can do."""
    from bigtrain.data.digits import digits

    dataset = digits()
    mean = np.clip(
        dataset.splits["train"][np.arange(len(dataset.splits["train"]))]["inputs"].mean(0) / 16, 1e-3, 1 - 1e-3
    )
    test = dataset.splits["test"][np.arange(len(dataset.splits["test"]))]["inputs"] / 16
    independent = float(-(test * np.log(mean) + (1 - test) * np.log(1 - mean)).sum((1, 2)).mean())
    result = run_fit(tmp_path / "run", "model=vae", "steps=800", "optimizer.learning_rate=3e-3")
    assert -result["test"]["elbo"] < independent - 2.0
    assert (tmp_path / "run" / "samples" / "step-000800.png").is_file()


@pytest.mark.long
def test_lstm_beats_a_two_gram_count_model_within_300_steps(tmp_path: Path) -> None:
    result = run_fit(
        tmp_path / "run", "model=rnn", "data=text", "steps=300", "optimizer.learning_rate=5e-3", "eval_every=300"
    )
    assert result["test"]["loss"] < two_gram_loss()


def test_transformer_beats_a_two_gram_count_model_within_150_steps(tmp_path: Path) -> None:
    small = ("model=transformer", "model.layers=2", "model.width=64", "data=text", "batch_size=32")
    steps = ("steps=150", "eval_every=150", "optimizer.learning_rate=5e-3", "schedule.warmup=10")
    assert run_fit(tmp_path / "run", *small, *steps)["test"]["loss"] < two_gram_loss()


def two_gram_loss() -> float:
    """Nats a character of counted pairs with add-one smoothing, on the same test characters."""
    dataset = text()
    size = len(dataset.spec.vocabulary or ())
    counts = np.ones((size, size))
    train = dataset.splits["train"][np.arange(len(dataset.splits["train"]))]
    np.add.at(counts, (train["inputs"].reshape(-1), train["targets"].reshape(-1)), 1)
    log_probability = np.log(counts / counts.sum(1, keepdims=True))
    test = dataset.splits["test"][np.arange(len(dataset.splits["test"]))]
    return float(-log_probability[test["inputs"].reshape(-1), test["targets"].reshape(-1)].mean())


def test_two_gram_loss_is_that_of_english() -> None:
    assert 2.2 < two_gram_loss() < 2.6
