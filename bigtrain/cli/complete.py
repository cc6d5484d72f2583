"""Shell completion: verbs, options, and whole `key=value` pairs.

A key press can't wait for Typer, let alone JAX: the answer comes from the config folders and the source files alone.
The shell hands over the words before the cursor; bash splits at `=`, so its script joins them again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bigtrain.config import check, groups, kinds, schema, signature
from bigtrain.config.errors import ConfigError
from bigtrain.plan.hardware import CHIPS
from bigtrain.plan.searched import KEYS

OPTIONS = {
    "fit": ("--cfg", "--dry-run", "--multirun", "--json", "--config-dir", "--trust", "--help"),
    "launch": (
        "--processes", "--devices-per-process", "--logs", "--cfg", "--dry-run", "--checkpoint", "--steps", "--json",
        "--config-dir", "--trust", "--help",
    ),
    "plan": ("--search", "--json", "--config-dir", "--trust", "--help"),
    "evaluate": ("--split", "--checkpoint", "--json", "--trust", "--help"),
    "verify": ("--checkpoint", "--steps", "--json", "--trust", "--help"),
    "predict": ("--input", "--output", "--checkpoint", "--json", "--trust", "--help"),
    "sample": (
        "--number", "--output", "--seed", "--length", "--temperature", "--top-k", "--top-p", "--prompt",
        "--prompt-file", "--checkpoint", "--json", "--trust", "--help",
    ),
    "data inspect": ("--output", "--json", "--config-dir", "--trust", "--help"),
    "data tokenize": ("--output", "--vocabulary", "--method", "--tokenizer", "--encoding", "--json", "--help"),
    "runs list": ("--sort", "--metric", "--json", "--help"),
    "runs compare": ("--json", "--help"),
    "runs best": ("--metric", "--mode", "--json", "--help"),
    "configs": ("--json", "--config-dir", "--help"),
    "completion": ("--help",),
}  # fmt: skip
"""A test holds this table to what Typer knows."""

_VALUES = {
    "--split": ("train", "validation", "test"),
    "--checkpoint": ("last", "best"),
    "--method": ("bytes-bpe", "bpe", "unigram", "wordpiece"),
    "--search": KEYS,
    "--mode": ("auto", "min", "max"),
}
_RUN_VERBS = ("evaluate", "verify", "predict", "sample", "runs list", "runs best")

_SCRIPTS = {
    "bash": """_bigtrain_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" prefix="" answer words
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    local typed="${words[${#words[@]}-1]}"
    # readline replaces only what follows the last word break
    [[ "$typed" == *=* && "$COMP_WORDBREAKS" == *=* ]] && prefix="${typed%=*}="
    COMPREPLY=()
    while IFS= read -r answer; do
        [[ -n "$answer" ]] && COMPREPLY+=("${answer#"$prefix"}")
    done < <(bigtrain __complete "${words[@]:1}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=/.] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _bigtrain_complete bigtrain
""",
    "zsh": """#compdef bigtrain
_bigtrain() {
    local -a answers open
    answers=("${(@f)$(bigtrain __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    open=(${(M)answers:#*[=/.]})
    answers=(${answers:#*[=/.]})
    (( $#open )) && compadd -S '' -- $open
    (( $#answers )) && compadd -- $answers
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _bigtrain bigtrain
""",
    "fish": """function __bigtrain_complete
    bigtrain __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null
end
complete -c bigtrain -f -a '(__bigtrain_complete)'
""",
}


def script(shell: str) -> str:
    """The completion script of a shell; `eval "$(bigtrain completion bash)"` turns it on."""
    if shell not in _SCRIPTS:
        raise ConfigError("completion", f"there is no script for {shell!r}", allowed=_SCRIPTS)
    return _SCRIPTS[shell].rstrip("\n")


def respond(words: Sequence[str]) -> int:
    """Prints the completions of the last word, one a line."""
    try:
        print("\n".join(completions(list(words) or [""])))
    except (ConfigError, OSError):
        return 1
    return 0


def completions(words: Sequence[str]) -> list[str]:
    """What the last of `words` (the words after `bigtrain`) may become."""
    *before, word = words
    if not before:
        return _starting(word, [*(verb.split()[0] for verb in OPTIONS), "--help", "--version"])
    verb = before[0]
    if (under := [name.split()[1] for name in OPTIONS if name.startswith(f"{verb} ")]) != []:  # a group of verbs
        if len(before) == 1:
            found = _starting(word, [*under, "--help"])
            return found if verb != "runs" or word.startswith("-") else [*found, *_paths(word, directories=True)]
        verb, before = f"{verb} {before[1]}", before[1:]
    if before[-1] in _VALUES:
        return _starting(word, _VALUES[before[-1]])
    if before[-1] in ("--config-dir", "--input", "--output", "--tokenizer", "--prompt-file", "--logs"):
        return _paths(word, directories=before[-1] in ("--config-dir", "--logs"))
    if word.startswith("-"):
        return _starting(word, OPTIONS.get(verb, ()))
    if verb == "fit" or (verb == "launch" and "fit" in before):
        return _overrides(word, before)
    if verb == "launch":
        return _starting(word, ["fit", "verify"]) if "verify" not in before else _paths(word, directories=True)
    if verb == "plan":
        return sorted([*_overrides(word, before), *_hardware(word)])
    if verb == "data inspect":
        return _of_data(word, before)
    if verb == "data tokenize":
        return _paths(word, directories=False)
    if verb == "configs":
        return _config_names(word, before[1:])
    if verb == "completion":
        return _starting(word, _SCRIPTS)
    one = verb in _RUN_VERBS and len(before) == 1
    return _paths(word, directories=True) if one or verb == "runs compare" else []


def _overrides(word: str, before: Sequence[str]) -> list[str]:
    dirs = groups.search_dirs(_option(before, "--config-dir"))
    available = groups.groups(dirs)
    key, equals, value = word.partition("=")
    if equals:
        if key in available:
            return _starting(word, [f"{key}={choice}" for choice in available[key]])
        if key in ("data.dir", "data.path", "run_dir"):
            return [f"{key}={path}" for path in _paths(value, directories=key != "data.path")]
        kind = _kind(key, available, before)
        return _starting(word, [f"{key}={item}" for item in _values(kind)])
    keys = [f"{group}=" for group in available] + [f"{path}=" for path in check.spine_paths() if path not in available]
    if "." in word or any(word == group for group in schema.COMPONENTS):
        keys += [f"{path}=" for path in _fields(word.split(".")[0], available, before)]
    return _starting(word, keys)


def _hardware(word: str) -> list[str]:
    """`hardware=` and the kinds there are; the number follows."""
    if not word.startswith("hardware="):
        return ["hardware="] if "hardware=".startswith(word) else []
    names = [chip.name if chip.platform == "cpu" else f"{chip.platform}-{chip.name}-" for chip in CHIPS.values()]
    return _starting(word, [f"hardware={name}" for name in names])


def _of_data(word: str, before: Sequence[str]) -> list[str]:
    """The choices of the data group, and the fields of the one that was typed."""
    typed = next((name for name in before[1:] if not name.startswith("-") and "=" not in name), None)
    offered = _overrides(word, [*before, f"data={typed}"] if typed else before) if "." in word or "=" in word else []
    offered = [text for text in offered if text.startswith("data")]
    if typed is None and not offered:
        return _starting(word, groups.groups(groups.search_dirs(_option(before, "--config-dir"))).get("data", {}))
    return offered or (["data."] if "data.".startswith(word) else [])


def _fields(group: str, available: dict[str, dict[str, Path]], before: Iterable[str]) -> list[str]:
    """The fields of the choice of a group that was typed already, or of all its choices."""
    chosen = [word.split("=")[1] for word in before if word.startswith(f"{group}=")]
    found: list[str] = []
    for name, path in available.get(group, {}).items():
        callee = groups.describe(group, name, path).callee
        if callee is not None and (not chosen or name == chosen[-1]):
            supplied = check.SUPPLIED.get(group, frozenset())
            found += [f"{group}.{item}" for item in callee.parameters if item not in supplied]
    return list(dict.fromkeys(found))


def _kind(key: str, available: dict[str, dict[str, Path]], before: Iterable[str]) -> kinds.Kind:
    root, _, rest = key.partition(".")
    if root in available and root not in check.NESTED:
        for name, path in available[root].items():
            callee = groups.describe(root, name, path).callee
            if callee and rest in callee.parameters and (f"{root}={name}" in before or not _typed(root, before)):
                return callee.parameters[rest].kind
        return kinds.ANYTHING
    of = f"bigtrain.config.schema.{check.NESTED.get(root, 'RunConfig')}"
    parameter = signature.read(of).parameters.get(rest or root)
    return parameter.kind if parameter else kinds.ANYTHING


def _typed(group: str, before: Iterable[str]) -> bool:
    return any(word.startswith(f"{group}=") for word in before)


def _values(kind: kinds.Kind) -> list[str]:
    """The values of a field that has only a few."""
    if isinstance(kind, kinds.Either):
        return [value for option in kind.options for value in _values(option)]
    if isinstance(kind, kinds.Exactly):
        return ["null" if choice is None else str(choice) for choice in kind.choices]
    return ["true", "false"] if kind.text == "true or false" else []


def _config_names(word: str, before: Sequence[str]) -> list[str]:
    available = groups.groups(groups.search_dirs(_option(before, "--config-dir")))
    return _starting(word, available.get(before[0], {}) if before else [*available, "run"])


def _option(words: Sequence[str], name: str) -> str | None:
    return next((after for word, after in itertools.pairwise(words) if word == name), None)


def _paths(word: str, *, directories: bool) -> list[str]:
    folder, start = os.path.split(word)
    try:
        entries = sorted(Path(folder or ".").iterdir())
    except OSError:
        return []
    found = [entry for entry in entries if entry.name.startswith(start) and not entry.name.startswith(".")]
    lead = word[: len(word) - len(start)]  # as typed: `./runs` stays `./runs`
    return [lead + entry.name + ("/" if entry.is_dir() else "") for entry in found if entry.is_dir() or not directories]


def _starting(word: str, choices: Iterable[str]) -> list[str]:
    return sorted({choice for choice in choices if choice.startswith(word)})
