"""Every family learns 32 examples by heart, through the code that `bigtrain fit` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from support import metrics_of, run_fit

from bigtrain.data.digits import digits

NUMBER = 32
Row = tuple[Callable[[Path], Sequence[str]], Sequence[str], str, float]


def write_digits(folder: Path) -> Sequence[str]:
    """The first 32 digits, none held out."""
    found = digits().splits["train"][np.arange(NUMBER)]
    np.savez(folder / "set.npz", x=found["inputs"] / np.float32(16), y=found["targets"])
    return ("data=npz", f"data.path={folder / 'set.npz'}", "data.validation=0", "data.test=0")


def write_lines(folder: Path) -> Sequence[str]:
    """A text of 32 windows, each of which begins with a letter of its own: all that follows can be known."""
    letters = np.random.default_rng(0).integers(ord("a"), ord("z") + 1, (NUMBER, 9))
    letters[:, 0] = 0x410 + np.arange(NUMBER)  # Cyrillic, which stands nowhere else
    (folder / "text.txt").write_text("".join(map(chr, letters.ravel())), encoding="utf-8")
    cut = ("data.length=8", "data.stride=9", "data.validation=0", "data.test=0")
    return ("data=text", f"data.path={folder / 'text.txt'}", *cut)


def write_pairs(folder: Path) -> Sequence[str]:
    """Distinct sources of unequal lengths, and targets that have nothing to do with them."""
    random = np.random.default_rng(0)
    targets = ["".join(map(str, random.integers(0, 10, random.integers(2, 6)))) for _ in range(NUMBER)]
    lines = [f"{number:b}\t{target}\n" for number, target in enumerate(targets)]
    (folder / "pairs.tsv").write_text("".join(lines))
    return ("data=pairs", f"data.path={folder / 'pairs.tsv'}", "data.validation=0", "data.test=0")


def write_black_and_white(folder: Path) -> Sequence[str]:
    """The same digits without grey: a decoder that knows them by heart loses nothing on them."""
    found = digits().splits["train"][np.arange(NUMBER)]
    np.savez(folder / "set.npz", x=(found["inputs"] > 7).astype(np.float32))
    return ("data=npz", f"data.path={folder / 'set.npz'}", "data.targets=null", "data.validation=0", "data.test=0")


def write_opinions(folder: Path) -> Sequence[str]:
    """A rating of each of 32 pairs of a user and an item, drawn from a normal distribution."""
    ratings = np.random.default_rng(0).normal(size=NUMBER)
    lines = [f"user{at // 4},item{at % 4},{rating}\n" for at, rating in enumerate(ratings)]
    (folder / "ratings.csv").write_text("user,item,rating\n" + "".join(lines))
    return ("data=ratings", f"data.path={folder / 'ratings.csv'}", "data.validation=0", "data.test=0")


SMALL_TRANSFORMER = ("model=transformer", "model.layers=2", "model.width=32", "model.heads=2")
SMALL_SEQ2SEQ = ("model=seq2seq/transformer", "model.width=64", "model.dropout=0")
OVERFIT: dict[str, Row] = {
    # what writes the data, the run, and the bound: the last training accuracy at least, or the last loss at most
    "mlp": (write_digits, ("model=mlp", "model.widths=[64]", "steps=100"), "accuracy", 0.99),
    "rnn": (write_digits, ("model=rnn", "model.width=64", "steps=150"), "accuracy", 0.99),
    "rnn_text": (write_lines, ("model=rnn", "model.width=64", "steps=300"), "accuracy", 0.99),
    "vae": (write_black_and_white, ("model=vae", "model.beta=0", "steps=400"), "loss", 0.5),
    "vae_conv": (write_black_and_white, ("model=vae/conv", "model.beta=0", "steps=300"), "loss", 0.5),
    "factorization": (write_opinions, ("model=factorization", "steps=300"), "loss", 1e-3),
    "cnn": (write_digits, ("model=cnn", "model.stages=[{channels:8,pool:2}]", "steps=100"), "accuracy", 0.99),
    "transformer_rows": (write_digits, (*SMALL_TRANSFORMER, "steps=150"), "accuracy", 0.99),
    "transformer_text": (write_lines, (*SMALL_TRANSFORMER, "steps=300"), "accuracy", 0.99),
    "seq2seq": (write_pairs, ("model=seq2seq", "model.width=64", "steps=200"), "accuracy", 0.99),
    "seq2seq_transformer": (write_pairs, (*SMALL_SEQ2SEQ, "schedule=wsd", "steps=500"), "accuracy", 0.99),
    "vit": (write_digits, (*SMALL_TRANSFORMER, "model.patch=2", "steps=150"), "accuracy", 0.99),
}

LONG = ("seq2seq", "seq2seq_transformer", "transformer_rows", "vae_conv", "vit")


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in OVERFIT],
)
def test_family_learns_32_examples_by_heart(family: str, tmp_path: Path) -> None:
    write, run, metric, bound = OVERFIT[family]
    often = ("batch_size=32", "log_every=50", "optimizer.learning_rate=3e-3", "logger=jsonl")
    run_fit(tmp_path / "run", *write(tmp_path), *often, *run)
    lines = [line for line in metrics_of(tmp_path / "run") if f"train/{metric}" in line]
    last = lines[-1][f"train/{metric}"]
    assert last <= bound if metric == "loss" else last >= bound
