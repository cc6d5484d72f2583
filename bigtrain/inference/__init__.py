"""Using a trained model: load it from its run directory, score, predict, sample."""
