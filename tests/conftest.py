"""What every test runs under: eight simulated devices on the CPU."""

import jax

jax.config.update("jax_num_cpu_devices", 8)
