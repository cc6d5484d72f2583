"""report.html: it parses, needs no network, escapes what it is told, and shows every trial; and the pictures."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_sweep import LOSS, made_sweep, write_metrics
from PIL import Image

from bigtrain.sweep.answer import write
from bigtrain.sweep.report.axes import Range, covering, cut, fence, of_key, short
from bigtrain.sweep.report.curves import POINTS, thinned
from bigtrain.sweep.report.lineage_chart import family, started
from bigtrain.sweep.report.page import page
from bigtrain.sweep.report.seeds import repeated
from bigtrain.sweep.report.view import View
from bigtrain.sweep.results import Sweep
from bigtrain.sweep.trial import Objective, Trial

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' onload=alert(3) ]]>&amp;\x1b[31m"
_VOID = ("meta", "input", "link", "img", "br")


class Page(HTMLParser):
    """The elements of a page; refuses one that is closed in the wrong order, or not at all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self._open[-1] if self._open else ""
        self.texts[tag] = self.texts.get(tag, "") + data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]


def shown(sweep: Sweep) -> tuple[str, Page]:
    text = page(View.of(sweep))
    return text, Page(text)


def test_every_trial_has_a_line_and_a_row(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path)
    text, found = shown(sweep)
    numbers = sorted(str(trial.number) for trial in sweep.trials)
    for metric in ("train/loss", "validation/loss"):
        start = text.index(f'id="{metric}"')
        drawn = re.findall(r'<polyline [^>]*data-t="(\d+)"', text[start : text.index("</figure>", start)])
        assert sorted(drawn) == numbers
    assert len(found.all("polyline")) == 2 * len(numbers)
    assert sorted(row["data-t"] for row in found.all("tr") if "data-t" in row) == numbers
    scored = [trial for trial in sweep.trials if trial.last is not None]
    assert len([path for path in found.all("path") if "data-t" in path]) == len(scored)


def test_the_best_is_marked_and_can_be_copied(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path)
    _, found = shown(sweep)
    best = [row["data-t"] for row in found.all("tr") if "best" in row.get("class", "").split()]
    assert best == ["1"]  # a rate of 1e-3 and the first seed
    assert sweep.repeat(sweep.trials[1]) in found.texts["pre"]
    assert found.all("button")[0]["data-copy"] == found.all("pre", id="best")[0]["id"]


def test_means_over_the_seeds(tmp_path: Path) -> None:
    values = [("a", 1.0), ("b", 3.0), ("a", 5.0), ("b", 3.5), ("c", 4.0), ("b", 99.0)]
    trials = []
    for at, (name, loss) in enumerate(values):
        failed = loss == 99.0
        scores = {} if failed else {1.0: (loss,)}
        kind = "failed" if failed else "done"
        trials.append(Trial(at, {"model": name, "seed": str(at)}, str(at), state=kind, scores=scores))
    sweep = Sweep(tmp_path, "", (), ("model", "seed"), (LOSS,), tuple(trials))
    found = [
        (one.trials[0].values["model"], one.mean, one.deviation, len(one.trials), one.lost) for one in repeated(sweep)
    ]
    assert found == [
        ("a", 3.0, pytest.approx(8**0.5), 2, 0),
        ("b", 3.25, pytest.approx(0.125**0.5), 2, 1),
        ("c", 4.0, None, 1, 0),
    ]
    assert "Over the seeds" in shown(sweep)[0]
    assert not repeated(dataclasses.replace(sweep, keys=("seed",)))
    assert not repeated(dataclasses.replace(sweep, trials=tuple(trials[3:5])))  # one of each
    highest = dataclasses.replace(sweep, objectives=(Objective("accuracy", "max"),))
    assert [one.trials[0].values["model"] for one in repeated(highest)] == ["c", "b", "a"]


def test_rows_are_ordered_by_score(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path)
    _, found = shown(sweep)
    rows = [sweep.trials[int(row["data-t"])].last for row in found.all("tr") if "data-t" in row]
    scores = [scores[0] for scores in rows if scores is not None]
    assert scores == sorted(scores)
    assert rows[len(scores) :] == [None] * 2


def test_no_address_and_a_policy_that_allows_none(tmp_path: Path) -> None:
    text, found = shown(made_sweep(tmp_path))
    assert "://" not in text
    assert not [
        attributes for _, attributes in found.elements if {"src", "style", "srcset", "action"} & set(attributes)
    ]
    policy = found.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        assert len(found.all(tag)) == 1
        digest = base64.b64encode(hashlib.sha256(found.texts[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy  # what is in the page may run, and nothing else


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    made = made_sweep(tmp_path, 8)
    trials = [
        dataclasses.replace(trial, values={HOSTILE: HOSTILE + str(trial.number), "seed": "1"}, error=HOSTILE)
        for trial in made.trials
    ]
    trials[0] = dataclasses.replace(trials[0], directory="javascript:alert(1)")
    trials[1] = dataclasses.replace(trials[1], directory='"><script>/../x')
    goal = Objective(HOSTILE, "min")
    parts = {"command": HOSTILE, "base": (HOSTILE,), "keys": (HOSTILE, "seed"), "objectives": (goal, goal)}
    trials = [
        dataclasses.replace(trial, scores={at: (*values, 1.0) for at, values in trial.scores.items()})
        for trial in trials
    ]
    text, found = shown(dataclasses.replace(made, trials=tuple(trials), **parts))
    assert len(found.all("script")) == 1
    assert not found.all("img")
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert HOSTILE.replace("\x1b", "␛") in found.texts["pre"]
    assert all(link["href"].startswith("./") for link in found.all("a"))
    assert "\x1b" not in text


def test_numbers_and_their_headings_stand_to_the_right(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path)
    named = dataclasses.replace(sweep.trials[0], values={"optimizer.learning_rate": "0.1", "seed": "none"})
    _, found = shown(dataclasses.replace(sweep, trials=(named, *sweep.trials[1:])))
    kinds = [head.get("class", "") for head in found.all("th") if "title" in head]
    assert kinds == ["n", "", "n", "", "n", "n", "n", "", ""]  # trial state rate seed loss steps time run error


def test_a_trial_that_rests_says_where(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path)
    resting = dataclasses.replace(sweep.trials[1], until=1 / 3, scores={1 / 3: (0.001,)})
    text, found = shown(dataclasses.replace(sweep, trials=(sweep.trials[0], resting, *sweep.trials[2:])))
    assert '<td class="state done">resting at 33%</td>' in text
    best = [row["data-t"] for row in found.all("tr") if "best" in row.get("class", "").split()]
    assert best != ["1"]  # it has the lowest loss, and has not been trained to the end


def test_links_lead_to_the_run_directories(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path, 3)
    odd = dataclasses.replace(sweep.trials[0], directory="a b#c?d%20/é")
    _, found = shown(dataclasses.replace(sweep, trials=(odd, *sweep.trials[1:])))
    assert {link["href"] for link in found.all("a")} == {"./a%20b%23c%3Fd%2520/%C3%A9/", "./1/", "./2/"}


def test_hundreds_of_trials_stay_small(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path, 240, points=120)
    text, found = shown(sweep)
    points = [len(line["points"].split()) for line in found.all("polyline")]
    assert max(points) <= 100
    assert all(
        len(line["data-log"].split()) == number for line, number in zip(found.all("polyline"), points, strict=True)
    )
    assert len(text) < 1_000_000
    assert "many" in found.all("main")[0]["class"].split()


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    goals = (LOSS, Objective("parameters", "min"), Objective("accuracy", "max"))
    sweep = made_sweep(tmp_path, objectives=goals)
    text, found = shown(sweep)
    assert text.count('class="scatter"') == 3
    assert text.count('class="bars"') == 3
    ringed = {dot["data-t"] for dot in found.all("circle") if "front" in dot["class"].split()}
    assert "1" in ringed
    assert 'class="scatter"' not in shown(made_sweep(tmp_path / "one"))[0]


def test_lineage(tmp_path: Path) -> None:
    text, found = shown(made_sweep(tmp_path, lineage=True))
    lives = [path for path in found.all("path") if "life" in path["class"].split()]
    assert len(lives) == 12
    assert len(found.all("path", **{"class": "descent"})) == 9
    assert 'class="lineage"' not in shown(made_sweep(tmp_path / "plain"))[0]
    assert "Trial 1. This command trains it once more." in text
    sweep = made_sweep(tmp_path, lineage=True)
    child = dataclasses.replace(sweep.trials[1], parent=0)  # the best
    text, _ = shown(dataclasses.replace(sweep, trials=(sweep.trials[0], child, *sweep.trials[2:])))
    assert "It went on from the state of trial 0: this command trains its values from the start." in text


def test_a_child_starts_where_its_parent_was_copied() -> None:
    parent = Trial(0, {}, "0", scores={0.25: (1.0,), 0.5: (1.0,), 0.75: (1.0,)})
    child = Trial(1, {}, "1", parent=0, scores={0.75: (1.0,)})
    other = Trial(2, {}, "2", parent=7)
    trials = {trial.number: trial for trial in (parent, child, other)}
    assert [started(trial, trials) for trial in trials.values()] == [0.0, 0.5, 0.0]
    last = Trial(3, {}, "3", parent=0)
    assert family([other, last, child, parent]) == [0, 1, 3, 2]


def test_one_that_diverged_does_not_flatten_the_others(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path)
    write_metrics(tmp_path / "3", [10.0**at for at in range(30)])
    _, found = shown(sweep)
    assert "drawn at the edge" in found.texts["small"]
    line = next(line for line in found.all("polyline") if line["data-t"] == "1")
    heights = [int(point.split(",")[1]) for point in line["points"].split()]
    assert max(heights) - min(heights) > 200  # of 410 units


def test_numbers_near_the_end_of_a_float(tmp_path: Path) -> None:
    """Their differences, sums and deviations overflow."""
    ends = (1.7e308, -1.7e308, 1.7e308, -1.7e308, 1.0)
    trials = []
    for at, value in enumerate(ends):
        write_metrics(tmp_path / str(at), [value, -value])
        values = {"seed": str(at % 2), "weight_decay": repr(-value)}
        trials.append(Trial(at, values, str(at), "done", scores={1.0: (value, -value)}))
    goals = (LOSS, Objective("parameters", "min"))
    for keys in (("seed", "weight_decay"), ("weight_decay",)):
        write(Sweep(tmp_path, "", (), keys, goals, tuple(trials)), print)
        text = (tmp_path / "report.html").read_text()
        assert "nan" not in text
        assert "inf" not in re.sub(r"<style.*?</style>|<script.*?</script>", "", text, flags=re.S)


def test_before_anything_was_measured(tmp_path: Path) -> None:
    waiting = tuple(Trial(at, {"seed": str(at)}, str(at)) for at in range(3))
    sweep = Sweep(tmp_path, "bigtrain fit -m seed=range(3)", (), ("seed",), (LOSS,), waiting)
    for trials in (waiting, ()):
        names = {path.name for path in write(dataclasses.replace(sweep, trials=trials), print)}
        assert names == {"results.csv", "report.html"}
        Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_all_files_are_written_whole(tmp_path: Path) -> None:
    written = write(made_sweep(tmp_path, 20), print)
    assert [path.name for path in written] == [
        "results.csv", "report.html", "curves.png", "parallel.png", "importance.png",
    ]  # fmt: skip
    for path in written[2:]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.std() > 5
        assert (np.abs(pixels.astype(int) - [217, 72, 15]).sum(-1) < 12).any() == (path.name != "importance.png")
    assert not list(tmp_path.glob(".*"))


def test_text_that_a_picture_can_not_show(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path, 6)
    trials = [dataclasses.replace(trial, values={"seed": f"$\\frac{{{trial.number}$ 漢"}) for trial in sweep.trials]
    assert len(write(dataclasses.replace(sweep, trials=tuple(trials), keys=("seed",)), print)) >= 4


def test_curves_keep_their_ends_and_peaks() -> None:
    points = [(step, float(step % 7)) for step in range(5000)]
    points[2345] = (2345, 1e6)
    kept = thinned(points, POINTS)
    assert len(kept) <= POINTS
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert points[2345] in kept
    assert list(kept) == sorted(set(kept) & set(points))
    assert thinned(points[:POINTS], POINTS) == tuple(points[:POINTS])


def test_a_curve_is_read_past_what_is_broken(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path, 1)
    lines = [{"step": 1, "train/loss": float("nan")}, {"step": 2, "train/loss": 3.0}, {"step": 2, "train/loss": 2.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "train'
    (tmp_path / "0" / "metrics.jsonl").write_text(text)
    assert View.of(sweep).curves == {"train/loss": {0: ((2, 2.0),)}}


@pytest.mark.parametrize(
    ("low", "high", "log", "marks"),
    [
        (0, 10, False, ["0", "2", "4", "6", "8", "10"]),
        (0.0, 0.5, False, ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        (1e-4, 1e-1, True, ["0.0001", "0.001", "0.01", "0.1"]),
        (0.3, 3, True, ["0.5", "1", "2"]),
        (2.0, 2.0, False, ["2"]),
        (-5, 5, False, ["-4", "-2", "0", "2", "4"]),
    ],
)
def test_marks_are_round(low: float, high: float, log: bool, marks: list[str]) -> None:
    span = Range(low, high, log)
    assert [text for _, text in span.marks()] == marks
    places = [place for place, _ in span.marks()]
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)


def test_axes_of_keys() -> None:
    rates = of_key("rate", ["1e-4", "1e-3", "1e-2", None])
    assert rates.places == (0.0, pytest.approx(0.5), 1.0, None)
    assert [text for _, text in rates.marks] == ["1e-4", "1e-3", "1e-2"]
    names = of_key("model", ["mlp", "cnn", "mlp"])
    assert names.places == (0.0, 1.0, 0.0)
    assert of_key("seed", ["3", "3"]).places == (0.5, 0.5)
    assert covering([1.0, 10.0]).log is False
    assert covering([1.0, 1000.0]).log is True


def test_texts_of_axes() -> None:
    assert [short(value) for value in (3.0, 0.12345, 1e-7, 123456789.0)] == ["3", "0.1235", "1e-7", "1.235e8"]
    assert cut("abcdefghij", 5) == "ab…ij"
    assert fence([1, 2, 3, 4, 1000]) == 4


def test_a_picture_that_can_not_be_drawn_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(view: View) -> None:
        raise ValueError("no such backend")

    monkeypatch.setattr("bigtrain.sweep.report.pictures.parallel", broken)
    said: list[str] = []
    names = [path.name for path in write(made_sweep(tmp_path, 5), lambda text, style="": said.append(text))]
    assert (said, "parallel.png" in names) == (["parallel.png could not be written: no such backend"], False)
    assert {"results.csv", "report.html", "curves.png"} <= set(names)
