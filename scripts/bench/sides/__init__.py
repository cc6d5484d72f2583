"""One module a framework, each with a class `Trainer`; see `bench.worker`."""
