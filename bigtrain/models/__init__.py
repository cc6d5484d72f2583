"""Model families, one a file. A model reads the data's `spec` and adapts: `Model(spec, *, fields…, rngs)`."""
