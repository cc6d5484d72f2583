"""From what a person types to a checked, typed `RunConfig` and the objects it names."""
