"""Mistakes in what is typed and in config files, and the exact answer to each; all are found without JAX.

`<model>` in an answer stands for the choices of that group, `<MLP>` for the fields of that class.
"""

from __future__ import annotations

import re
from pathlib import Path

from bigtrain.config import check, groups, signature

FILES = {
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

DURATION = "steps (2000), '10epochs', '5%' or '1_000_000examples'"

CASES: dict[str, str] = {}
