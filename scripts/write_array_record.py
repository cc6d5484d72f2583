"""Writes any data set that bigtrain reads as ArrayRecord shards, for data=array_record.

    python scripts/write_array_record.py shards data=image_folder data.path=photos data.size=64
    python scripts/write_array_record.py shards data=npz data.path=mine.npz --shards 16
    bigtrain fit model=cnn data=array_record data.path=shards

Makes OUT/train-00000-of-00008.array_record …, the same for the other splits, and OUT/spec.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from bench.arguments import count

from bigtrain.cli.fit import understood
from bigtrain.config.errors import BigtrainError, InputError
from bigtrain.data.array_record import packed
from bigtrain.data.load import load_data
from bigtrain.data.progress import shown
from bigtrain.data.serialize import spec_to_json
from bigtrain.data.spec import Source, Spec

BLOCK = 256  # examples that are read at once
OPTIONS = "group_size:1"  # a record can then be read alone


def write(folder: Path, split: str, source: Source, spec: Spec, shards: int) -> int:
    """Writes one split and returns how many bytes its records take; neighbours lie in one shard."""
    from array_record.python.array_record_module import ArrayRecordWriter

    total = 0
    for shard, rows in enumerate(np.array_split(np.arange(len(source)), shards)):
        writer = ArrayRecordWriter(str(folder / f"{split}-{shard:05d}-of-{shards:05d}.array_record"), OPTIONS)
        blocks = [rows[at : at + BLOCK] for at in range(0, len(rows), BLOCK)]
        for block in shown(blocks, f"{split}: writing blocks of {BLOCK} examples", len(blocks)):
            for record in packed(source[block], spec.fields):
                writer.write(record)
                total += len(record)
        writer.close()
    return total


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder that is empty or isn't there")
    parser.add_argument("data", nargs="+", help="data=NAME data.FIELD=VALUE …, as for bigtrain fit")
    parser.add_argument("--shards", type=count, default=8, help="files a split (8)")
    given = parser.parse_args(words)
    try:
        wrong = [word for word in given.data if not word.startswith(("data=", "data."))]
        if wrong or given.shards < 1:
            raise InputError(f"{wrong[0]} is no part of the data" if wrong else f"--shards: {given.shards} is too few")
        if given.out.exists() and any(given.out.iterdir()):
            raise InputError(f"{given.out}: is not empty")
        _, checked, trusted = understood(given.data, None, [])
        dataset = load_data(checked, trusted, training=False)
        given.out.mkdir(parents=True, exist_ok=True)
        for split, source in dataset.splits.items():
            size = write(given.out, split, source, dataset.spec, min(given.shards, len(source)))
            print(f"{split}: {len(source):,} records, {size / 1e6:,.1f} MB")
        (given.out / "spec.json").write_text(spec_to_json(dataset.spec), encoding="utf-8")
    except BigtrainError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
