"""The optimizer: clipping, update rule, schedule, decay masks, freezing and moving average, all from Optax."""
