"""Mistakes in what is typed and in config files, with the exact answer to each: `mistakes.txt` is the table.

In an answer `<model>` stands for the choices of that group, `<MLP>` for the fields of that class, `<verbs>` for the
verbs, `<fit>` for the options of fit and `<here>` for the working directory.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from command import files, typed

from bigtrain.config import check, groups, signature

FILES: Mapping[str, str | bytes] = {
    "cfg/model/broken.yaml": "_target_: bigtrain.models.mlp.MLP\nwidths: [1\ndropout: {",
    "cfg/model/list.yaml": "- 1\n- 2\n",
    "cfg/model/bare.yaml": "widths: [3]\n",
    "cfg/model/latin.yaml": b"# caf\xe9\n_target_: bigtrain.models.mlp.MLP\n",
    "cfg/model/evil.yaml": "_target_: os.system\ncommand: 'true'\n",
    "cfg/model/asks.yaml": "_target_: bigtrain.models.mlp.MLP\ndropout: ???\n",
    "cfg/experiment/key.yaml": "# @package _global_\nstepz: 3\n",
    "cfg/experiment/nested.yaml": "# @package _global_\ncheckpoint:\n  evry: 3\n",
    "cfg/experiment/field.yaml": "# @package _global_\nmodel:\n  dropuot: 0.1\n",
    "cfg/experiment/value.yaml": "# @package _global_\nbatch_size: many\n",
    "cfg/experiment/choice.yaml": "# @package _global_\ndefaults:\n  - override /optimizer: adm\n",
    "cfg/experiment/group.yaml": "# @package _global_\ndefaults:\n  - override /modle: mlp\n",
    "cfg/experiment/chain.yaml": "# @package _global_\ndefaults:\n  - override /model: broken\n",
    "cfg/experiment/list.yaml": "- 1\n",
    "cfg/experiment/plugin.yaml": "# @package _global_\nplugins: [nopackage]\n",
    "file": "x",
}
"""What the commands of the table find in the working directory."""


def table() -> dict[str, str]:
    """command -> what stands on stderr, by `mistakes.txt`."""
    blocks = re.split(r"^\$ ", (Path(__file__).parent / "mistakes.txt").read_text(encoding="utf-8"), flags=re.M)
    parts = (block.partition("\n") for block in blocks[1:])
    return {line: re.sub(r"^# .*$", "", answer, flags=re.M).strip("\n") for line, _, answer in parts}


def write_files(folder: Path) -> None:
    """The config folder and the files that the commands name."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def problems(line: str, answer: str, folder: Path) -> list[str]:
    """What is wrong with how bigtrain answers a mistake: nothing, when the list is empty."""
    before = files(folder)
    done = typed(line)
    wanted = f"error: {_filled(answer, line, folder)}\n"
    found = []
    if done.code != 2:
        found.append(f"exit code {done.code}, not 2")
    if done.err != wanted:
        found.append(f"stderr is\n{done.err}but should be\n{wanted}")
    if done.out:
        found.append(f"stdout has {done.out!r}")
    if files(folder) != before:
        found.append(f"it wrote {sorted(files(folder) - before)}")
    return found


def _filled(answer: str, line: str, folder: Path) -> str:
    own = [folder / "cfg"] if "--config-dir cfg" in line else []
    available = groups.groups([*own, groups.builtin_dir()])
    lists = {group: list(choices) for group, choices in available.items()}
    lists["MLP"] = _fields("bigtrain.models.mlp.MLP", "model")
    lists["groups"], lists["here"] = list(available), [str(folder)]
    from bigtrain.cli.complete import OPTIONS

    lists["verbs"] = [verb for verb in OPTIONS if " " not in verb] + ["data", "runs"]
    lists["fit"] = [option for option in OPTIONS["fit"] if option != "--help"]
    return re.sub(r"<(\w+)>", lambda match: ", ".join(lists[match[1]]), answer)


def _fields(target: str, group: str) -> list[str]:
    return [name for name in signature.read(target).parameters if name not in check.SUPPLIED[group]]


def main(folder: str) -> None:
    """Every mistake in this one process, which must not import JAX on the way."""
    os.chdir(folder)
    wrong = 0
    for line, answer in table().items():
        found = problems(line, answer, Path(folder))
        found += [f"{name} was imported" for name in ("jax", "flax", "optax", "orbax") if name in sys.modules]
        if found:
            wrong += 1
            print(f"$ bigtrain {line}", *found, sep="\n", end="\n\n")
    print(f"{len(table())} mistakes, {wrong} answered wrongly")


if __name__ == "__main__":
    write_files(Path(sys.argv[1]))
    main(sys.argv[1])
