"""Small text files for tests."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

FRUIT, TOOLS = ("apple", "pear", "plum", "cherry"), ("hammer", "saw", "drill", "file")


def write_texts(path: Path, number: int = 60) -> Path:
    """A CSV of texts of one to six words and their classes: fruit or tools."""
    random = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text"])
        for at in range(number):
            words = random.choice((FRUIT, TOOLS)[at % 2], random.integers(1, 7))
            writer.writerow([("fruit", "tools")[at % 2], " ".join(words)])
    return path
