"""The benchmark: bigtrain beside hand-written JAX, Keras and PyTorch; see benchmarks/README.md.

Nothing here is a part of bigtrain, and what runs in a worker imports the standard library and its own framework only.
"""
