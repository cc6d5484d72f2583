"""What a member of a group needs beside it to be tried: other choices, files, and a size that two cores can train.

Only members that can't be tried with all the defaults are named; keys are `group=choice`, or `group=prefix/*`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from files import write_array_records, write_huggingface, write_images, write_sounds
from support import write_idx, write_npz
from tables import write_letters, write_parquet, write_ratings, write_table
from texts import write_texts

Partners = Sequence[str] | Callable[[Path], Sequence[str]]

PARTNERS: dict[str, Partners] = {
    "data=sequences": lambda folder: [f"data.path={write_series(folder / 'series.npz')}", "model=rnn"],
    "data=forecast": lambda folder: [f"data.path={write_wave(folder / 'wave.npy')}", "data.length=8"],
    "data=csv": lambda folder: [f"data.path={write_table(folder / 'set.csv')}"],
    "experiment=letter_recognition_*": lambda folder: [f"data.path={write_letters(folder / 'letters.data')}"],
    "data=parquet": lambda folder: [f"data.path={write_parquet(folder / 'set.parquet')}"],
    "data=ratings": lambda folder: [f"data.path={write_ratings(folder / 'ratings.csv')}"],
    "model=factorization": lambda folder: ["data=ratings", f"data.path={write_ratings(folder / 'ratings.csv')}"],
    "data=text_classification": lambda folder: ["model=rnn", f"data.path={write_texts(folder / 'texts.csv')}"],
    "data=image_folder": lambda folder: [f"data.path={write_images(folder / 'images')}", "data.size=6"],
    "data=audio_folder": lambda folder: ["model=rnn", f"data.path={write_sounds(folder / 'sounds')}", "data.mels=6"],
    "data=array_record": lambda folder: [f"data.path={write_array_records(folder / 'shards')}"],
    "data=huggingface": lambda folder: [f"data.path={write_huggingface(folder / 'saved')}"],
    "data=text": ["model=rnn", "data.length=12"],
    "data=random_tokens": ["model=rnn", "data.length=12", "data.vocabulary=20", "data.examples=200"],
    "model=transformer*": ["model.layers=2", "model.width=16", "model.heads=2", "model.kv_heads=1", "model.hidden=24"],
    "model=transformer/nano": ["data=text", "data.length=12"],
    "model=transformer/gpt2*": ["data=text", "data.length=12"],
    "model=transformer/llama*": ["data=text", "data.length=12"],
    "model=transformer/vit_*": ["model.patch=4"],
    "model=transformer/bert_*": lambda folder: [
        "data=text_classification",
        f"data.path={write_texts(folder / 'texts.csv')}",
    ],
    "experiment=gpt_*": ["data.stride=64", "model.layers=1", "model.width=16"],
    "data=pairs": lambda folder: ["model=seq2seq", f"data.path={write_pairs(folder / 'pairs.tsv')}", "model.width=8"],
    "data=arithmetic": ["model=seq2seq", "data.examples=200", "model.width=8"],
    "model=seq2seq*": ["data=arithmetic", "data.examples=200", "model.width=8"],
    "task=seq2seq": ["model=seq2seq", "data=arithmetic", "data.examples=200", "model.width=8"],
    "experiment=addition_*": ["data.examples=200", "model.width=8"],
    "experiment=cmudict_*": lambda folder: [f"data.path={write_pairs(folder / 'pairs.tsv')}", "model.width=8"],
    "data=npz": lambda folder: [f"data.path={write_npz(folder / 'set.npz')}"],
    "data=idx": lambda folder: [f"data.dir={write_idx(folder / 'idx')}", "data.validation=8"],
    "data=mnist": lambda folder: [f"data.dir={write_idx(folder / 'idx')}", "data.validation=8"],
    "data=fashion_mnist": lambda folder: [f"data.dir={write_idx(folder / 'idx')}", "data.validation=8"],
    "experiment=fashion_*": lambda folder: [f"data.dir={write_idx(folder / 'idx')}", "data.validation=8"],
    "task=regression": lambda folder: ["data=npz", f"data.path={write_npz(folder / 'set.npz')}"],
    "task=language_modeling": ["model=rnn", "data=text", "data.length=12"],
    "task=elbo": ["model=vae", "task.importance_samples=3"],
    "model=cnn/*": ["model.width=0.1"],
    "mesh=sequence": [
        "model=transformer",
        "data=text",
        "data.length=16",
        "model.layers=2",
        "model.width=16",
        "model.heads=2",
    ],
}


def write_series(path: Path) -> Path:
    """A small set of sequences of different lengths."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 7, 40)
    np.savez(path, values=random.normal(size=(lengths.sum(), 2)), lengths=lengths, y=np.arange(40) % 3)
    return path


def write_pairs(path: Path) -> Path:
    """Pairs of which some sources have two targets."""
    lines = [f"{row:b}\t{target}\n" for row in range(60) for target in ("X Y", "Y")[: 1 + row % 2]]
    path.write_text("".join(lines))
    return path


def write_wave(path: Path) -> Path:
    """A long series."""
    np.save(path, np.sin(np.arange(200) / 5))
    return path


def partners(group: str, name: str, folder: Path) -> list[str]:
    """The overrides that a member needs beside its own; files are written into `folder`."""
    found: list[str] = []
    for pattern, needed in PARTNERS.items():
        if fnmatch.fnmatchcase(f"{group}={name}", pattern):
            found += needed(folder) if callable(needed) else needed
    return found
