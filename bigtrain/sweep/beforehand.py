"""What can be known of the runs of a sweep before any of them starts: what their data is, and whether they fit it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bigtrain.config.errors import InputError
from bigtrain.data.fingerprint import Fingerprint, changes, fingerprint
from bigtrain.data.load import check_batch, load_data
from bigtrain.data.spec import Dataset
from bigtrain.parallel import mesh as meshes
from bigtrain.parallel.rules import Rules
from bigtrain.sweep.groups import coarse, data_of
from bigtrain.sweep.ledger import Ledger
from bigtrain.sweep.member import Member
from bigtrain.train.prepare import converter, given_numbers, outline


def look(members: Sequence[Member], datasets: dict[str, Dataset]) -> dict[str, Fingerprint]:
    """Loads the data of the runs, each set once, and refuses what can't be trained with it.

    Lengths and numbers are looked at for each run, and the model for one of each kind of program.

    Args:
        members: the runs of the first round, and one for each other value.
        datasets: what is loaded, by `data_of`; more is put in.

    Returns:
        The fingerprint of each data set, by the name that a ledger has it under.

    Raises:
        InputError: for the first run that can't be trained, as it would be refused by itself.
    """
    prints: dict[str, Fingerprint] = {}
    seen: dict[str, tuple[str, ...]] = {}
    rules = Rules.of(meshes.make(members[0].checked.run.mesh), members[0].checked.run.mesh) if members else None
    for member in members:
        checked, key = member.checked, data_of(member.checked)
        if key not in datasets:
            datasets[key] = load_data(checked, member.trusted)
        name = f"data {hashlib.sha256(key.encode()).hexdigest()[:16]}"
        if name not in prints:
            prints[name] = fingerprint(datasets[key])
        check_batch(checked, datasets[key])
        lengths, to_steps = converter(checked.run, len(datasets[key].splits["train"]))
        kind = coarse(checked)
        if kind not in seen and rules is not None and checked.run.mesh == members[0].checked.run.mesh:
            try:
                seen[kind] = outline(checked, member.trusted, datasets[key], rules).definition.recipe()[0].fields
            except InputError:
                raise
            except Exception:  # of code that isn't ours: a failed trial, and the others go on
                seen[kind] = ()
        given_numbers(checked, seen.get(kind, ()), lengths, to_steps)
    return prints


def check_data(ledger: Ledger, prints: dict[str, Fingerprint]) -> None:
    """Refuses to rank runs on other examples together with those that the sweep has trained; new sets are noted.

    Raises:
        InputError: with what differs.
    """
    ledger.note(prints)
    known = ledger.facts()
    for name, now in prints.items():
        if found := changes(known[name], now):
            lines = "".join(f"\n  {line}" for line in found)
            hint = "bring the data back as it was, or choose another sweep_dir"
            raise InputError(
                f"data: is not what the sweep in {str(ledger.folder)!r} has been trained on{lines}\n  {hint}"
            )
