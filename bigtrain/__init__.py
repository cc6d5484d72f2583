"""bigtrain: one command and one YAML config train a JAX model, from a laptop's CPU to a pod."""

__version__ = "0.1.0"
