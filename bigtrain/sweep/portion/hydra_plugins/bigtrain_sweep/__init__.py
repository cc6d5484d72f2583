"""bigtrain's part in Hydra's two extension points: a sweeper that chooses, and launchers that run."""
