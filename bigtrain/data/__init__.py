"""Data: what a set holds (`spec`), in which order it is read (`sampler`), and where it lives (`placement`)."""
