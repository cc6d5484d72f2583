"""Metrics as (sum, weight) pairs: merged as sums, divided once, at the end."""

from bigtrain.metrics.mean import Mean

__all__ = ["Mean"]
