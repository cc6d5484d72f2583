"""Sweeps: many runs that differ in some keys, as Hydra's own multirun: a sweeper chooses, a launcher runs."""
