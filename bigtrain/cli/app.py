"""The verbs and their options."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import bigtrain
from bigtrain.cli.data_verbs import data
from bigtrain.cli.options import ConfigDir, Json, Trust
from bigtrain.cli.runs_verbs import runs

app = typer.Typer(
    help="Train JAX models from one YAML config, on a laptop's CPU or a pod of accelerators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: bigtrain fit · then: bigtrain fit model=vae · every key: bigtrain configs",
)

app.add_typer(data, name="data")
app.add_typer(runs, name="runs")

Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045  Typer reads this at run time
    typer.Argument(metavar="KEY=VALUE", help="Config choices and values: model=vae optimizer.learning_rate=3e-4"),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Checkpoint = Annotated[str, typer.Option("--checkpoint", metavar="last|best|STEP", help="Which checkpoint to use.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bigtrain {bigtrain.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Holds the options that belong to no verb."""


@app.command()
def fit(
    context: typer.Context,
    overrides: Overrides = None,
    cfg: Annotated[bool, typer.Option("--cfg", help="Print the composed config and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compile and print the summary; train nothing.")] = False,
    multirun: Annotated[
        bool, typer.Option("--multirun", "-m", help="Sweep: KEY=VALUE,VALUE or KEY=interval(LOW,HIGH) with sweep=NAME.")
    ] = False,
    json: Json = False,
    config_dir: ConfigDir = None,
    trust: Trust = None,
) -> None:
    """Train a model, or many (-m); the same command again continues an interrupted run."""
    from bigtrain.cli import fit as single
    from bigtrain.cli import sweep

    options: dict[str, Any] = {"cfg": cfg, "dry_run": dry_run, "as_json": json, "config_dir": config_dir}
    options["trust"] = trust or []
    if multirun or sweep.asked_for(overrides or []):
        sweep.run(overrides or [], **options)
    else:
        single.run(overrides or [], **options, clock=context.obj, holding=context.with_resource(ExitStack()))


@app.command()
def launch(
    verb: Annotated[str, typer.Argument(metavar="fit|verify", help="What to start.")],
    overrides: Overrides = None,
    processes: Annotated[int, typer.Option("--processes", "-n", min=1, max=1024, help="How many processes.")] = 2,
    devices: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--devices-per-process", min=1, help="Simulate so many CPU devices in each: mesh.simulate."),
    ] = None,
    logs: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--logs", metavar="DIR", help="Where each process's log goes; RUN/logs if not given."),
    ] = None,
    cfg: Annotated[bool, typer.Option("--cfg", help="As of fit.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As of fit.")] = False,
    checkpoint: Annotated[str, typer.Option(metavar="STEP", help="As of verify.")] = "",
    steps: Annotated[int, typer.Option(min=0, help="As of verify.")] = 0,
    json: Json = False,
    config_dir: ConfigDir = None,
    trust: Trust = None,
) -> int:
    """Train in several processes of this host: launch -n 4 fit …; clusters start fit themselves."""
    from bigtrain.cli.forward import passed_on
    from bigtrain.cli.launch import run

    of_fit = {"--cfg": cfg, "--dry-run": dry_run, "--config-dir": config_dir, "--devices-per-process": devices}
    of_verify = {"--checkpoint": checkpoint, "--steps": steps}
    if verb == "verify":
        from bigtrain.cli.launch_verify import run as run_verify

        options = passed_on(verb, {**of_verify, "--json": json, "--trust": trust}, refused=of_fit)
        return run_verify(overrides or [], options, number=processes, logs=logs)
    here = {"--devices-per-process": None}  # an override
    options = passed_on(verb, {**of_fit, **here, "--json": json, "--trust": trust}, refused=of_verify)
    places: dict[str, Any] = {"logs": logs, "config_dir": config_dir, "trust": trust or []}
    return run(verb, overrides or [], options, number=processes, devices=devices, **places)


@app.command()
def plan(
    overrides: Overrides = None,
    search: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--search", metavar="KEYS", help="Rank what fits: mesh,batch_size,remat,accumulate,precision."),
    ] = None,
    json: Json = False,
    config_dir: ConfigDir = None,
    trust: Trust = None,
) -> None:
    """Say what a run would cost on hardware=NAME (tpu-v5e-256, gpu-h100-8, cpu): memory, FLOPs, time, money."""
    from bigtrain.cli.plan import run

    run(overrides or [], search=search, as_json=json, config_dir=config_dir, trust=trust or [])


@app.command()
def evaluate(
    run: Run,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    checkpoint: Checkpoint = "last",
    json: Json = False,
    trust: Trust = None,
) -> None:
    """Score a trained model; KEY=VALUE may change data.*, mesh.* and eval_batch_size."""
    from bigtrain.cli.evaluate import run as evaluate_run

    evaluate_run(run, overrides or [], split=split, checkpoint=checkpoint, as_json=json, trust=trust or [])


@app.command()
def verify(
    run: Run,
    checkpoint: Annotated[str, typer.Option(metavar="STEP", help="Where to begin, if not at the last but one.")] = "",
    steps: Annotated[int, typer.Option(min=0, help="How many to train again; 0 is up to the next checkpoint.")] = 0,
    json: Json = False,
    trust: Trust = None,
) -> int:
    """Train a part of a run again and compare the state with the recorded one, bit for bit; prints a receipt."""
    from bigtrain.cli.verify import run as verify_run

    return verify_run(run, checkpoint=checkpoint or None, steps=steps or None, as_json=json, trust=trust or [])


@app.command()
def predict(
    run: Run,
    input: Annotated[Path, typer.Option("--input", help="What to predict for: .npy .npz .csv .txt .png")],
    output: Annotated[Path, typer.Option("--output", help="Where to write: .npz .npy .csv .jsonl")],
    checkpoint: Checkpoint = "last",
    json: Json = False,
    trust: Trust = None,
) -> None:
    """Apply a trained model to new inputs from a file."""
    from bigtrain.cli.predict import run as predict_run

    predict_run(run, input, output, checkpoint=checkpoint, as_json=json, trust=trust or [])


@app.command()
def sample(
    run: Run,
    number: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--number",
            "-n",
            min=1,
            max=100_000,
            help="How many samples, 16 if not given; of each prompt, where 1 is usual if there are several.",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", help="Where to write: .png or .npy for images, .txt for text."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Fixes the draw.")] = 0,
    length: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--length", min=1, max=1_000_000, help="Text: tokens to write; 200 if not given."),
    ] = None,
    temperature: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--temperature", min=0.0, help="Text: 0 is the likeliest; 0.8 if not given."),
    ] = None,
    top_k: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--top-k", min=1, help="Text: draw from the K likeliest tokens alone."),
    ] = None,
    top_p: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--top-p", min=0.0, max=1.0, help="Text: draw from the likeliest with this probability together."),
    ] = None,
    prompt: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--prompt", help="Text: what to begin with; can be repeated."),
    ] = None,
    prompt_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--prompt-file", metavar="FILE", help="Text: a prompt a line."),
    ] = None,
    checkpoint: Checkpoint = "last",
    json: Json = False,
    trust: Trust = None,
) -> None:
    """Draw new examples from a generative model: images from a VAE, text from a language model."""
    from bigtrain.cli.sample import Wish
    from bigtrain.cli.sample import run as sample_run

    wish = Wish(number, seed, length, temperature, top_k, top_p, prompt or (), prompt_file)
    sample_run(run, wish, output, checkpoint=checkpoint, as_json=json, trust=trust or [])


@app.command()
def configs(
    group: Annotated[str, typer.Argument(help="model, data, optimizer, … or run.")] = "",
    name: Annotated[str, typer.Argument(help="One choice of the group.")] = "",
    json: Json = False,
    config_dir: ConfigDir = None,
) -> None:
    """List every config group, its choices, and every field with default and type."""
    from bigtrain.cli.configs import run

    run(group, name, as_json=json, config_dir=config_dir)


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell to complete for.")],
) -> None:
    """Print the script that completes verbs, options and KEY=VALUE pairs in your shell."""
    from bigtrain.cli.complete import script

    typer.echo(script(shell))
