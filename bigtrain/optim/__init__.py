"""The optimizer: clipping, Optax's update rule, schedule, decay masks, freezing and the moving average, all from Optax."""
