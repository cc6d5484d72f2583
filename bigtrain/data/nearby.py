"""Two ways to find the training example that another is nearly a copy of: by distance, and by shared pieces of text."""

from __future__ import annotations

import numpy as np

from bigtrain.data.describe import evenly, pieces
from bigtrain.data.spec import Source, Spec

PROJECTED = 64  # dimensions after random projection; distances keep to about 9% (Johnson & Lindenstrauss 1984)
NEAR = 0.1  # of the usual distance of two training examples: closer ones are near copies
ROOM = 1.6  # a projected distance up to this much above the bound is checked in full: seven deviations
PAIRS = 2_000  # from which the usual distance is worked out
PAIR_BYTES = 64 << 20  # of them in memory, at most
BLOCK = 64  # queries compared at once with all of training
SHINGLE = 8  # tokens in a piece
LEAST = 16  # tokens of a sequence that is compared: a shorter one has too few pieces to tell
HASHES = 64  # of a MinHash signature (Broder 1997), in bands of four: a pair of similarity 0.8 is missed in 1 of 4,000
BAND = 4
ALIKE = 0.8  # Jaccard similarity of two sets of pieces
CANDIDATES = 8  # training examples looked at for one query and band
SEED = 0x5EED
_PRIME = np.uint64((1 << 31) - 1)

Pair = tuple[int, int, float]  # an example, the training example it is like, and the measure of how alike


class Sketch:
    """Near copies among real inputs: Euclidean distance relative to the usual distance of two training examples.

    Each example is projected onto 64 random directions and compared with every training example; what is close there
    is measured in full.
    """

    text = (
        f"closer than {NEAR:.0%} of the usual distance of two training examples; {PROJECTED} random projections, "
        "then measured in full"
    )

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        size = int(np.prod(spec.inputs.shape, dtype=np.int64))
        random = np.random.default_rng(SEED)
        narrow = min(PROJECTED, size)
        self.directions = random.normal(size=(size, narrow)).astype(np.float32) / np.float32(narrow**0.5)

    def learn(self, source: Source, indices: np.ndarray) -> None:
        """Keeps the projections of the training examples, and their usual distance."""
        self.source, self.indices = source, indices
        most = min(PAIRS, max(2, PAIR_BYTES // (4 * len(self.directions))))
        some = self._values(source, indices[evenly(len(indices), most)])
        other = some[np.random.default_rng(SEED).permutation(len(some))]
        apart = np.sqrt(np.square(some - other).sum(1))
        self.bound = NEAR * float(np.median(apart[apart > 0])) if (apart > 0).any() else 0.0
        self.projected = self._projected(source, indices)
        self.squares = np.square(self.projected).sum(1)

    def matches(self, source: Source, indices: np.ndarray) -> list[Pair]:
        """The examples at `indices` that a training example is nearly a copy of, with their distance from 0 to 1."""
        found: list[Pair] = []
        queries = self._projected(source, indices)
        limit = np.float32((ROOM * self.bound) ** 2)
        for at in range(0, len(indices), BLOCK):
            part = queries[at : at + BLOCK]
            apart = np.square(part).sum(1)[:, None] - 2 * part @ self.projected.T + self.squares
            close = np.flatnonzero(apart.min(1) <= limit)
            for row in close:
                places = np.argsort(apart[row], kind="stable")[:CANDIDATES]
                own = self._values(source, indices[[at + row]])
                full = np.sqrt(np.square(self._values(self.source, self.indices[places]) - own).sum(1))
                best = int(full.argmin())
                if full[best] <= self.bound:
                    relative = float(full[best] / self.bound * NEAR) if self.bound else 0.0
                    found.append((int(indices[at + row]), int(self.indices[places[best]]), round(relative, 4)))
        return found

    def _projected(self, source: Source, indices: np.ndarray) -> np.ndarray:
        parts = [self._flat(batch) @ self.directions for _, batch in pieces(source, self.spec, indices)]
        return np.concatenate(parts) if parts else np.empty((0, self.directions.shape[1]), np.float32)

    def _values(self, source: Source, indices: np.ndarray) -> np.ndarray:
        return self._flat(source[indices])

    def _flat(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        values = batch["inputs"].astype(np.float32) * np.float32(self.spec.inputs.scale)
        if "lengths" in batch:
            values[np.arange(values.shape[1]) >= batch["lengths"][:, None]] = 0
        return np.nan_to_num(values.reshape(len(values), -1))


class Shingles:
    """Near copies among sequences of tokens: the share of pieces of eight tokens that two of them have in common."""

    text = f"at least {ALIKE:.0%} of the pieces of {SHINGLE} tokens in common; {HASHES} MinHashes, then counted in full"

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        random = np.random.default_rng(SEED)
        self.factors = random.integers(1, int(_PRIME), HASHES).astype(np.uint64)
        self.terms = random.integers(0, int(_PRIME), HASHES).astype(np.uint64)

    def learn(self, source: Source, indices: np.ndarray) -> None:
        """Keeps the signatures of the training examples, sorted band by band."""
        self.source, self.indices = source, indices
        bands = self._bands(source, indices)
        self.orders = [np.argsort(band, kind="stable") for band in bands.T]
        self.ranked = [band[order] for band, order in zip(bands.T, self.orders, strict=True)]

    def matches(self, source: Source, indices: np.ndarray) -> list[Pair]:
        """The examples at `indices` that share most pieces with a training example, with the shared part."""
        found: list[Pair] = []
        bands = self._bands(source, indices)
        for row, signature in enumerate(bands):
            if not signature.any():  # too short to tell
                continue
            candidates: set[int] = set()
            for band, key in enumerate(signature):
                start = int(np.searchsorted(self.ranked[band], key))
                same = self.ranked[band][start : start + CANDIDATES] == key
                candidates.update(self.orders[band][start : start + CANDIDATES][same].tolist())
            if not candidates:
                continue
            own = self._set(source, int(indices[row]))
            alike = [(self._alike(own, self._set(self.source, int(self.indices[at]))), at) for at in candidates]
            share, best = max(alike)
            if share >= ALIKE:
                found.append((int(indices[row]), int(self.indices[best]), round(share, 4)))
        return found

    def _alike(self, left: set[int], right: set[int]) -> float:
        return len(left & right) / max(1, len(left | right))

    def _set(self, source: Source, index: int) -> set[int]:
        hashes, exists = self._pieces(source[np.array([index])])
        return set(hashes[0][exists[0]].tolist())

    def _bands(self, source: Source, indices: np.ndarray) -> np.ndarray:
        """A hash of each band of each example's signature: uint64 [N, bands]."""
        found = [self._signed(batch) for _, batch in pieces(source, self.spec, indices)]
        return np.concatenate(found) if found else np.empty((0, HASHES // BAND), np.uint64)

    def _signed(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        signatures = np.empty((len(batch["inputs"]), HASHES), np.uint64)
        for at in range(0, len(signatures), BLOCK):  # the pieces of many examples take some memory
            part = {name: batch[name][at : at + BLOCK] for name in ("inputs", "lengths") if name in batch}
            hashes, exists = self._pieces(part)
            for number, (factor, term) in enumerate(zip(self.factors, self.terms, strict=True)):
                mixed = (hashes * factor + term) % _PRIME
                signatures[at : at + BLOCK, number] = np.where(exists, mixed, _PRIME).min(1)
        grouped = signatures.reshape(len(signatures), -1, BAND)
        keys = np.zeros(grouped.shape[:2], np.uint64)
        for at in range(BAND):
            keys = keys * np.uint64(0x9E3779B97F4A7C15) + grouped[:, :, at]
        if "lengths" in batch:
            keys[batch["lengths"] < LEAST] = 0
        return keys

    def _pieces(self, batch: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """A 31-bit hash of each piece of each example, and which of them lie within its length: [B, pieces]."""
        tokens = batch["inputs"].reshape(len(batch["inputs"]), -1).astype(np.uint64)
        windows = tokens.shape[1] - SHINGLE + 1
        hashes = np.zeros((len(tokens), windows), np.uint64)
        for at in range(SHINGLE):
            hashes = hashes * np.uint64(0x100000001B3) + tokens[:, at : at + windows] + np.uint64(1)
        lengths = batch.get("lengths", np.full(len(tokens), tokens.shape[1]))
        exists = np.arange(windows) <= (np.maximum(lengths, SHINGLE) - SHINGLE)[:, None]
        return (hashes ^ (hashes >> np.uint64(32))) % _PRIME, exists
