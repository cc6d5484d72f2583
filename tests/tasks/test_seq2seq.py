"""The sequence-to-sequence task: what is averaged, what counts as right, and what a user sees of it."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import prepared, run_fit
from tiny import apart, assert_gradient, build, float64

from bigtrain.checkpoint import Checkpoints
from bigtrain.cli.evaluate import run as evaluate
from bigtrain.cli.predict import run as predict
from bigtrain.cli.sample import Wish
from bigtrain.cli.sample import run as sample
from bigtrain.config.errors import BigtrainError
from bigtrain.config.schema import CheckpointConfig
from bigtrain.data.spec import Field, Spec, Vocabulary
from bigtrain.models.seq2seq import Seq2Seq as Recurrent
from bigtrain.models.seq2seq_transformer import TransformerSeq2Seq
from bigtrain.tasks.auto import auto
from bigtrain.tasks.seq2seq import Seq2Seq
from bigtrain.tasks.task import Judging, Writing, weights_like
from bigtrain.train.corpus import installed
from bigtrain.train.step import mean_gradient

B, S, T, R = 4, 3, 4, 2
START, END = 3, 4
SOURCE, TARGET = Vocabulary(tuple("abc")), Vocabulary((*"xyz", "<start>", "<end>"), separator=" ", start=3, end=4)
LENGTH = Field((), "int32", "length")
TOKENS = Field((T,), "int32", "tokens")
FIELDS = {"inputs": Field((S,), "int32", "tokens"), "lengths": LENGTH, "targets": TOKENS, "target_lengths": LENGTH}
SPEC = Spec("made up", FIELDS, {"train": 8}, None, SOURCE, TARGET)
TARGETS = np.array([[0, 1, 2, END], [1, END, END, END], [2, 2, END, END], [0, END, END, END]])
BATCH = {
    "inputs": jnp.asarray(np.random.default_rng(0).integers(0, 3, (B, S))), "lengths": jnp.asarray([3, 1, 2, 3]),
    "targets": jnp.asarray(TARGETS), "target_lengths": jnp.asarray([4, 2, 3, 2]),
    "weights": jnp.asarray([1.0, 0.5, 1.0, 0.0]),
}  # fmt: skip


def recurrent(rngs):
    return Recurrent(SPEC, cell="gru", width=3, embedding=2, bidirectional=True, rngs=rngs)


def transformer(rngs):
    return TransformerSeq2Seq(SPEC, width=4, heads=2, layers=1, hidden=4, dropout=0.0, activation="gelu", rngs=rngs)


class Fixed:
    """A model that says the same whatever it is told: logits by position, and by position alone."""

    start, end, longest = START, END, T

    def __init__(self, logits):
        self.logits, self.told = jnp.asarray(logits, jnp.float32), None

    def __call__(self, inputs, previous, *, lengths):
        self.told = previous
        return jnp.broadcast_to(self.logits, (len(inputs), T, 5))

    def encode(self, inputs, *, lengths):
        return {"inputs": inputs}

    def initial(self, memory, length):
        return memory["inputs"], jnp.int32(0)

    def step(self, carry, tokens):
        inputs, at = carry
        return (inputs, at + 1), jnp.broadcast_to(self.logits[at], (len(inputs), 5))


LOGITS = np.random.default_rng(1).normal(size=(T, 5))
LOGITS[[0, 1, 2], [0, 1, END]] += 5.0  # says: 0 1 end


def test_the_loss_is_of_each_target_token_and_its_end_given_those_before():
    model = Fixed(LOGITS)
    losses, weights, metrics = Seq2Seq().elements(model, BATCH, jax.random.key(0))
    np.testing.assert_array_equal(model.told, [[START, *row[:-1]] for row in TARGETS.tolist()])
    log_probability = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    expected = -log_probability[np.arange(T), TARGETS]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(
        weights, [[1, 1, 1, 1], [0.5, 0.5, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    )  # not by `lengths`, which are the sources'
    hits = (LOGITS.argmax(-1) == TARGETS) * np.asarray(weights)
    assert float(metrics["accuracy"].total) == pytest.approx(hits.sum())
    assert set(metrics) == {"accuracy"}


def test_smoothing_is_for_training_alone():
    task = Seq2Seq(label_smoothing=0.3)
    smooth, plain = (judged(Fixed(LOGITS), BATCH, jax.random.key(0))[0] for judged in (task.elements, task.judge))
    assert isinstance(task, Judging)
    np.testing.assert_array_equal(plain, Seq2Seq().elements(Fixed(LOGITS), BATCH, jax.random.key(0))[0])
    assert float(jnp.abs(smooth - plain).min()) > 1e-3


@pytest.mark.parametrize("beam", [1, 3])
def test_any_reference_is_an_exact_match(beam):
    said, other = [0, 1, END, END], [0, 2, END, END]
    references = np.array([[said, other], [other, said], [other, other], [said, said]])
    given = {**BATCH, "references": jnp.asarray(references)}
    _, _, metrics = Seq2Seq(beam=beam).judge(Fixed(LOGITS), given, jax.random.key(0))
    assert set(metrics) == set(Seq2Seq.metrics)
    match = metrics["exact_match"]
    assert (float(match.total), float(match.weight)) == (1.5, 2.5)  # weights 1, 0.5, 1, 0
    alone = Seq2Seq(beam=beam).judge(Fixed(LOGITS), BATCH, jax.random.key(0))[2]["exact_match"]
    assert float(alone.total) == 0.0  # without references it is the target


def test_answers_are_texts_with_corpus_scores():
    task, found = Seq2Seq(), {"prediction": np.array([[0, 1, END, 2], [2, END, END, END]]), "log_probability": [0, 1]}
    examples = {"references": np.array([[[0, 1, END, END], [2, END, END, END]], [[0, 0, END, END]] * 2])}
    assert isinstance(task, Writing)
    texts = task.texts(found, SPEC)
    assert [*texts] == ["prediction", "log_probability"]
    assert texts["prediction"].tolist() == ["x y", "z"]
    assert task.references(examples, SPEC) == [["x y", "z"], ["x x"]]
    assert task.corpus(found, examples, SPEC)["error_rate"] == 2 / 4


def test_scores_without_their_package_are_left_out_with_the_command_to_type():
    kept, notes = installed({"error_rate": 0.5, "chrf": float("nan"), "bleu": float("nan")})
    assert kept == {"error_rate": 0.5}
    assert notes == ["chrf and bleu left out: they need sacrebleu (pip install 'bigtrain[text]')"]
    assert installed({"loss": 1.0}) == ({"loss": 1.0}, [])


def test_weights_of_targets_with_their_own_length_are_theirs():
    batch = {"lengths": jnp.asarray([1, 1]), "target_lengths": jnp.asarray([3, 2])}
    np.testing.assert_array_equal(weights_like(batch, jnp.zeros((2, 3))), [[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize("make", [recurrent, transformer])
def test_the_gradient_agrees_with_finite_differences(make):
    key, task = jax.random.key(0), Seq2Seq(label_smoothing=0.1)
    with float64():
        recipe, parts = apart(lambda: make(nnx.Rngs(0)), seed=1, dtype="float64")
        run = jax.jit(mean_gradient(recipe, task, {"dropout": 0.0}, dtype=jnp.dtype("float64")))

        def loss(some):
            found = run({**parts.params, **some}, parts.rest, BATCH, key)[2]["loss"]
            return found.total / found.weight

        grads, _, metrics = run(parts.params, parts.rest, BATCH, key)
        assert float(metrics["loss"].weight) == 4 + 0.5 * 2 + 3
        # a bias of the keys moves all scores of a query alike, and the softmax takes it out
        tested = {k: v for k, v in parts.params.items() if not k.endswith(("attention.key.bias", "cross.key.bias"))}
        assert_gradient(loss, tested, grads)


@pytest.mark.parametrize("make", [recurrent, transformer])
def test_a_real_model_s_beam_is_at_least_as_likely_as_greedy(make):
    model = build(lambda: make(nnx.Rngs(0)), seed=3)
    tasks = [Seq2Seq(beam=beam, length_penalty=0.0) for beam in (1, 5)]
    plain, wide = jax.jit(lambda: [task.predict(model, BATCH)["log_probability"] for task in tasks])()
    assert (np.asarray(wide) >= np.asarray(plain) - 1e-5).all()


def test_auto_chooses_it_and_a_larger_match_is_better(tmp_path):
    assert auto(SPEC, "seq2seq") == Seq2Seq()
    assert Checkpoints(tmp_path, CheckpointConfig(monitor="exact_match")).mode == "max"


TINY = (
    "model=seq2seq", "model.width=8", "model.embedding=4", "data=pairs", "data.target_level=words", "task=seq2seq",
    "task.beam=2", "steps=4", "batch_size=8", "eval_every=2", "log_every=1", "checkpoint.every=4",
    "checkpoint.monitor=exact_match",
)  # fmt: skip


def pairs_file(folder, rows=60):
    path = folder / "pairs.tsv"
    path.write_text("".join(f"a{row:b}\tW{row % 3} W{row % 2}\n" for row in range(rows)) + "a1\tW0\n")
    return path


def test_a_run_is_trained_shown_scored_and_used(tmp_path, capsys):
    path, run = pairs_file(tmp_path), tmp_path / "run"
    result = run_fit(run, *TINY, f"data.path={path}")
    assert {"loss", "accuracy", "exact_match", "error_rate"} <= set(result["test"])
    assert set(result["best"]) == {"step", "exact_match"}
    shown = (run / "answers" / "step-000004.txt").read_text().splitlines()
    assert len(shown) == 6
    assert all(" → " in line and ("✓" in line or "✗ (W" in line) for line in shown)

    evaluate(run, [], split="test", checkpoint="last", as_json=True, trust=[])
    scores = json.loads(capsys.readouterr().out)
    for name in ("loss", "accuracy", "exact_match", "error_rate"):
        assert scores[name] == pytest.approx(result["test"][name], rel=1e-5)

    (tmp_path / "in.tsv").write_text("a1\tignored\na10\n")
    for name in ("out.csv", "out.jsonl", "out.npz"):
        predict(run, tmp_path / "in.tsv", tmp_path / name, checkpoint="last", as_json=False, trust=[])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    table = (tmp_path / "out.csv").read_text().splitlines()
    assert table[0] == "prediction,log_probability"
    assert [line.split(",")[0] for line in table[1:]] == [row["prediction"] for row in rows]
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert archive["prediction"].tolist() == [row["prediction"] for row in rows]

    with pytest.raises(BigtrainError, match=r"which makes no samples\n  bigtrain predict applies it to inputs"):
        sample(run, Wish(), None, checkpoint="last", as_json=False, trust=[])

    other = tmp_path / "other.tsv"  # shorter sources, one reference, the symbols in another order
    other.write_text("".join(f"a1{row % 2}\tW{row % 2} W1\n" for row in range(4)) + "a0\tW1\na\tW2\n")
    overrides = [f"data.path={other}", "data.validation=0", "data.test=2"]
    evaluate(run, overrides, split="test", checkpoint="last", as_json=True, trust=[])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["examples"] == 2
    other.write_text("a" * 30 + "\tW1\nb\tW1\nc\tW1\n")
    with pytest.raises(BigtrainError, match=r"data: inputs: the model was trained on at most \[7\] tokens; here are"):
        evaluate(run, overrides, split="test", checkpoint="last", as_json=True, trust=[])


def test_a_monitor_that_is_not_reported_names_those_that_are(tmp_path):
    with pytest.raises(BigtrainError) as caught:
        prepared(*TINY, f"data.path={pairs_file(tmp_path)}", "checkpoint.monitor=bleu")
    assert "checkpoint.monitor: the task reports no 'bleu'\n  allowed: loss, accuracy, exact_match" in str(caught.value)


def test_scores_need_no_package_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    result = run_fit(tmp_path / "run", *TINY, f"data.path={pairs_file(tmp_path)}", "steps=2")
    assert "chrf" not in result["test"]
    assert result["notes"] == ["chrf left out: they need sacrebleu (pip install 'bigtrain[text]')"]
