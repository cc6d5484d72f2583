"""Training: state, step, compiled program, loop, and what happens beside the loop."""
