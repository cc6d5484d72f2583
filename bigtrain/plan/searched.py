"""What `--search` can vary."""

from __future__ import annotations

from bigtrain.config.errors import ConfigError, did_you_mean

KEYS = ("mesh", "batch_size", "remat", "accumulate", "precision")


def keys_of(text: str) -> list[str]:
    """The keys of `--search mesh,batch_size,remat`.

    Raises:
        ConfigError: for one that can't be searched over.
    """
    found = [key.strip().removeprefix("model.") for key in text.split(",") if key.strip()]
    for key in found:
        if key not in KEYS:
            raise ConfigError("--search", f"{key!r} can't be searched", allowed=KEYS, hint=did_you_mean(key, KEYS))
    if not found:
        raise ConfigError("--search", "names nothing to search over", allowed=KEYS)
    return list(dict.fromkeys(found))
