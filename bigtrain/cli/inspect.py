"""`bigtrain data inspect`: what a data set holds, before anything is trained on it. Needs no JAX."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.config import groups
from bigtrain.config.errors import ConfigError, did_you_mean, harmless

if TYPE_CHECKING:
    from bigtrain.data.spec import Dataset

WIDTH = 79
BAR = 20  # symbols of the longest bar
CLASSES = 20  # classes that are listed
DRAWN = 8  # images of a class in a row of the picture
_FILES = {
    ".npz": "npz", ".npy": "npz", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".ts": "sequences",
    ".txt": "text",
}  # fmt: skip


def run(
    given: Sequence[str], output: Path | None, *, as_json: bool, config_dir: Path | None, trust: Sequence[str]
) -> None:
    """Loads the data set, measures it and prints what was found; images are also drawn."""
    overrides, name = _overrides(given, config_dir)
    if output is not None and output.suffix.lower() != ".png":
        raise ConfigError("--output", f"{str(output)!r} is no .png", hint=f"for example --output {name}.png")

    from bigtrain.cli.fit import understood
    from bigtrain.data.describe import describe
    from bigtrain.data.leakage import leakage
    from bigtrain.data.load import load_data

    _, checked, trusted = understood(overrides, config_dir, trust)
    dataset = load_data(checked, trusted, training=False)
    facts = {**describe(dataset), "leakage": leakage(dataset)}
    facts["warnings"] += list(_leaks(facts["leakage"]))
    facts["picture"] = _draw(dataset, output, name)
    if as_json:
        sys.stdout.write(json.dumps(facts, default=str) + "\n")
        return
    sys.stdout.write(harmless("\n".join(line.rstrip() for line in _page(facts)) + "\n"))


def _overrides(given: Sequence[str], config_dir: Path | None) -> tuple[list[str], str]:
    """What was typed as overrides, and the name of the set: `digits` is `data=digits`; nothing but data can be set."""
    choices = groups.groups(groups.search_dirs(config_dir)).get("data", {})
    overrides = []
    for text in given:
        key, equals, _ = text.lstrip("+~").partition("=")
        if equals and key not in ("data", "plugins") and not key.startswith("data."):
            raise ConfigError(key, "is no part of the data", allowed="data.FIELD=VALUE")
        overrides.append(text if equals else f"data={_choice(text, choices)}")
    names = [text.split("=", 1)[1] for text in overrides if text.startswith("data=")]
    if not names:
        raise ConfigError("data", "which data set?", allowed=choices, hint="for example: bigtrain data inspect digits")
    if len(names) > 1:
        raise ConfigError("data", f"one data set at a time, not {' and '.join(names)}")
    return overrides, names[0].replace("/", "-")


def _choice(name: str, choices: Mapping[str, Path]) -> str:
    if name in choices:
        return name
    hint = did_you_mean(name, choices)
    there = Path(name).expanduser()
    if there.exists():
        kind = _FILES.get(there.suffix.lower(), "npz") if there.is_file() else "image_folder"
        if kind in choices:
            hint = f"for a file of yours: bigtrain data inspect {kind} data.path={name}"
    raise ConfigError("data", f"there is no data {name!r}", allowed=choices, hint=hint)


def _page(facts: Mapping[str, Any]) -> Iterator[str]:
    """The printed lines."""
    total = sum(facts["splits"].values())
    counts = ", ".join(f"{number:,} {split}" for split, number in facts["splits"].items())
    yield f"{facts['name']}: {total:,} examples ({counts})"
    yield from (_wrapped(f"{name}: {text}") for name, text in facts["notes"].items())
    yield ""
    yield from _aligned([("field", "shape", "type", "kind", "values"), *_fields(facts)])
    for section in (_lengths(facts), _classes(facts), _examples(facts), _leak_lines(facts)):
        lines = list(section)
        if lines:
            yield ""
            yield from lines
    if facts["warnings"]:
        yield ""
        for text in facts["warnings"]:
            yield _wrapped(f"note: {text}")
    if facts["picture"]:
        yield ""
        yield f"picture: {facts['picture']['path']} ({facts['picture']['what']})"


def _fields(facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, entry in facts["fields"].items():
        shape = "x".join(map(str, entry["shape"])) or "one"
        measured = facts["measured"]["train"].get(name)
        values = ""
        if entry["kind"] == "tokens":
            tokens = facts["measured"]["train"].get("tokens", {})
            used = f", {tokens['used']:,} used" if tokens and name == "inputs" else ""
            values = f"{facts.get('vocabulary', 0):,} tokens{used}"
        elif entry["kind"] == "label":
            values = f"{len(facts.get('classes', {}).get('names', ())):,} classes"
        elif entry["kind"] == "categories":
            values = f"of {', '.join(map(str, entry['sizes']))} values"
        elif isinstance(measured, dict) and "mean" in measured:
            low, high, mean, deviation = (_short(measured[key]) for key in ("low", "high", "mean", "deviation"))
            values = f"{low} to {high}, mean {mean} ± {deviation}"
        elif isinstance(measured, dict) and "median" in measured:
            values = f"{measured['least']:,} to {measured['most']:,}"
        yield (name, shape, entry["dtype"], entry["kind"], values)


def _short(number: float) -> str:
    return f"{number:,.0f}" if 100 <= abs(number) < 1e7 else f"{number:.2g}"


def _lengths(facts: Mapping[str, Any]) -> Iterator[str]:
    """Lengths of padded sequences, split by split."""
    rows = []
    for split, measured in facts["measured"].items():
        for name in ("lengths", "target_lengths"):
            if name in measured:
                entry = measured[name]
                rows.append((name, split, f"{entry['least']:,}", f"{entry['median']:,.0f}", f"{entry['most']:,}"))
    if rows:
        yield from _aligned([("steps", "split", "least", "median", "most"), *rows])


def _classes(facts: Mapping[str, Any]) -> Iterator[str]:
    """How many examples each class has in training, as bars, and its share of every split."""
    if "classes" not in facts:
        return
    names, counts = facts["classes"]["names"], facts["classes"]["counts"]
    totals = {split: max(1, sum(found)) for split, found in counts.items()}
    longest = max([*counts["train"], 1])
    order = range(len(names))
    if len(names) > CLASSES:
        order = sorted(order, key=lambda at: -counts["train"][at])[:CLASSES]  # type: ignore[assignment]
    width = max(5, *(len(names[at][:24]) for at in order))
    others = [split for split in counts if split != "train"]
    yield f"{'class':<{width}}  {'train':>9}  {'':<{BAR}}  {'':>6}" + "".join(f"  {split:>10}" for split in others)
    for at in order:
        number = counts["train"][at]
        bar = "#" * max(round(BAR * number / longest), 1 if number else 0)
        shares = "".join(f"  {counts[split][at] / totals[split]:>10.1%}" for split in others)
        yield f"{names[at][:24]:<{width}}  {number:>9,}  {bar:<{BAR}}  {number / totals['train']:>6.1%}{shares}"
    if len(names) > CLASSES:
        yield f"and {len(names) - CLASSES:,} smaller classes"


def _examples(facts: Mapping[str, Any]) -> Iterator[str]:
    names = [name for name in facts["fields"] if facts["fields"][name]["kind"] not in ("length", "segments")]
    if facts["fields"].get("targets", {}).get("kind") == "tokens" and facts["fields"]["inputs"]["kind"] == "tokens":
        moved = any(example["targets"][:40] in example["inputs"] for example in facts["examples"])
        names = [name for name in names if name != "targets" or not moved]  # the same text, one token ahead
    for number, example in enumerate(facts["examples"]):
        for index, name in enumerate(name for name in names if name in example):
            room = WIDTH - 12 - len(name)
            text = json.dumps(example[name], ensure_ascii=False)[1:-1] if example[name] else ""
            cut = text if len(text) <= room else text[: room - 1] + "…"
            yield f"{f'example {number}' if not index else '':<9}  {name} {cut}"


def _leak_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The copies between and within splits."""
    found, splits = facts["leakage"], facts["splits"]
    exact, near = found["exact"], found["near"]
    inside = exact["train"]
    yield "copies"
    text = f"{inside['copies']:,} of {exact['checked']['train']:,} are copies of others"
    yield f"  within train          {text}{_conflicts(inside)}"
    for split in ("validation", "test"):
        if split in exact:
            text = f"{exact[split]['number']:,} of {exact['checked'][split]:,} are in training too"
            yield f"  {split + ', exactly':<20}  {text}{_conflicts(exact[split])}"
        if near and split in near:
            pairs = near[split]["pairs"]
            first = f", such as {pairs[0][0]:,} and training example {pairs[0][1]:,}" if pairs else ""
            yield f"  {split + ', nearly':<20}  {near[split]['number']:,} of {near['compared'][split]:,}{first}"
    yield _wrapped("exactly: a hash of the stored inputs; " + (f"nearly: {near['method']}" if near else "near "
                   "copies are looked for among inputs of 16 values or tokens and more"), "  ")  # fmt: skip
    for name, part in (("exact", exact), ("near", near or {"sampled": []})):
        if part["sampled"]:
            key = "checked" if name == "exact" else "compared"
            sizes = ", ".join(f"{part[key][split]:,} of {splits[split]:,} {split}" for split in part["sampled"])
            yield _wrapped(f"a sample for {name} copies: {sizes} examples; the true number is larger", "  ")


def _conflicts(found: Mapping[str, Any]) -> str:
    return f", {found['conflicting']:,} with another target" if found["conflicting"] else ""


def _leaks(found: Mapping[str, Any]) -> Iterator[str]:
    """What the copies mean for the scores."""
    for split in ("validation", "test"):
        exact = found["exact"].get(split, {}).get("number", 0)
        near = (found["near"] or {}).get(split, {}).get("number", 0)
        counts = [f"{exact:,} as exact copies"] * bool(exact) + [f"{near:,} nearly"] * bool(near)
        if counts:
            yield (
                f"{split} examples are in training too ({', '.join(counts)}): on them a score shows what was learnt "
                "by heart"
            )


def _draw(dataset: Dataset, output: Path | None, name: str) -> dict[str, str] | None:
    """Draws training images: a row for each class where there are up to ten, else the first ones."""
    import numpy as np

    from bigtrain.run import pictures

    spec = dataset.spec
    series = "lengths" in spec.fields or (spec.reader is not None and spec.reader.kind != "image")
    images = spec.inputs.kind == "features" and len(spec.inputs.shape) in (2, 3) and not series
    if not images or not pictures.drawable(spec.inputs.shape):
        if output is not None:
            shape = "x".join(map(str, spec.inputs.shape))
            raise ConfigError("--output", f"the inputs of {name} ({shape} {spec.inputs.kind}) are no pictures")
        return None
    path = output or Path(f"inspect-{name}.png")
    train = dataset.splits["train"]
    batch = train[np.arange(min(len(train), 1000))]
    chosen, what = np.arange(min(DRAWN * DRAWN, len(batch["inputs"]))), "the first training images"
    classes = spec.classes or ()
    if spec.targets is not None and spec.targets.kind == "label" and not spec.targets.shape and len(classes) <= 10:
        rows = [np.flatnonzero(batch["targets"] == label)[:DRAWN] for label in range(len(classes))]
        if min(map(len, rows)) == DRAWN:
            chosen, what = np.concatenate(rows), f"a row for each class, {classes[0]} to {classes[-1]}"
    values = batch["inputs"][chosen].astype(np.float32) * spec.inputs.scale
    low = float(values.min()) if spec.inputs.low is None else spec.inputs.low
    high = float(values.max()) if spec.inputs.high is None else spec.inputs.high
    pixels = pictures.grid((values - low) / max(high - low, 1e-9), DRAWN)
    try:
        pictures.save_png(path, pixels)
    except OSError as error:
        raise ConfigError("--output", f"can't write {str(path)!r}: {error.strerror or error}") from error
    return {"path": str(path), "what": what}


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows as columns of equal width; the last one is cut at the edge of the page."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))[:WIDTH]


def _wrapped(text: str, indent: str = "") -> str:
    import textwrap

    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
