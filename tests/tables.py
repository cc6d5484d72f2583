"""Small tables as files, of every kind of column."""

from __future__ import annotations

from pathlib import Path

import numpy as np

COLORS = ("red", "green", "blue")


def rows_of(number: int = 60, seed: int = 0) -> list[list[str]]:
    """Rows of width, color, code, price: a number with gaps, a text, a code and a real target that they determine."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(number):
        width, color, code = random.normal(10, 2), int(random.integers(3)), int(random.integers(4))
        price = 200_000 + 15_000 * (width - 10) + 30_000 * color + random.normal() * 500
        rows.append(["" if random.random() < 0.1 else f"{width:.3f}", COLORS[color], str(code), f"{price:.2f}"])
    return rows


def write_csv(path: Path, rows: list[list[str]], header: str = "width,color,code,price", mark: str = ",") -> Path:
    """The rows below a header, or without one if that is empty."""
    lines = [mark.join(row) for row in rows]
    path.write_text("\n".join(([header.replace(",", mark)] if header else []) + lines) + "\n", encoding="utf-8")
    return path


def write_table(path: Path, *, number: int = 60) -> Path:
    """A small regression table as CSV."""
    return write_csv(path, rows_of(number))


def write_parquet(path: Path, *, number: int = 60) -> Path:
    """The same as Parquet."""
    import pyarrow
    from pyarrow import parquet

    columns = list(zip(*rows_of(number), strict=True))
    width = [float(cell) if cell else None for cell in columns[0]]
    table = {"width": width, "color": columns[1], "code": [int(cell) for cell in columns[2]]}
    parquet.write_table(pyarrow.table({**table, "price": [float(cell) for cell in columns[3]]}), path)
    return path


def write_letters(path: Path) -> Path:
    """Rows of a letter and three numbers, without a header."""
    random = np.random.default_rng(0)
    rows = [["ABC"[at % 3], *(str(value) for value in random.integers(16, size=3))] for at in range(60)]
    return write_csv(path, rows, "")


def low_rank(users: int = 30, items: int = 20, rank: int = 2, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """A rating of every item by every user, [users, items]: mean, biases, a product of factors, and noise."""
    random = np.random.default_rng(seed)
    biases = 3.5 + 0.4 * random.normal(size=(users, 1)) + 0.4 * random.normal(size=items)
    factors = random.normal(size=(users, rank)) @ random.normal(size=(rank, items))
    return np.asarray(biases + 0.6 * factors + noise * random.normal(size=(users, items)))


def write_ratings(path: Path, found: np.ndarray | None = None) -> Path:
    """All ratings of a matrix as rows of userId, movieId, rating, timestamp."""
    found = low_rank() if found is None else found
    rows = [
        [f"u{user}", str(1000 + item), f"{found[user, item]:.4f}", str(user * 100 + item)]
        for user in range(found.shape[0])
        for item in range(found.shape[1])
    ]
    return write_csv(path, rows, "userId,movieId,rating,timestamp")
