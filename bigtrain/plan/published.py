"""Which text the published language models were trained on: what a plan assumes where no data is chosen."""

from __future__ import annotations

from collections.abc import Sequence

PUBLISHED = {  # tokens of the vocabulary, tokens of a training window
    "transformer/gpt2": (50_257, 1024),
    "transformer/gpt2_medium": (50_257, 1024),
    "transformer/gpt2_large": (50_257, 1024),
    "transformer/gpt2_xl": (50_257, 1024),
    "transformer/llama2_7b": (32_000, 4096),
    "transformer/llama3_1b": (128_256, 8192),
    "transformer/llama3_8b": (128_256, 8192),
}
"""By the preset's name: Radford et al. 2019; Touvron et al. 2023; Dubey et al. 2024."""


def published(overrides: Sequence[str]) -> tuple[list[str], str | None]:
    """The overrides with random text as published for the model, if it has been and no data is chosen; and why.

    Fields such as `data.length=2048` change it.
    """
    given = dict(text.split("=", 1) for text in overrides if "=" in text)
    name = given.get("model", "")
    if name not in PUBLISHED or {"data", "experiment"} & set(given):
        return list(overrides), None
    vocabulary, length = PUBLISHED[name]
    assumed = ["data=random_tokens", f"data.vocabulary={vocabulary}", f"data.length={length}"]
    own = [key for key in ("data.vocabulary", "data.length") if key in given]
    source = f"as published for {name.split('/')[-1]}" + (f", but for {' and '.join(own)}" if own else "")
    return [*assumed, *overrides], f"{source}; no data= was given"
