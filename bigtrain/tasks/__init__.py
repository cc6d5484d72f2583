"""Tasks: per-element losses with their weights, and metric states. Never a mean: the division comes at the end."""

from bigtrain.tasks.task import Elements, Task

__all__ = ["Elements", "Task"]
