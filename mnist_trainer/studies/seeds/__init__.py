"""One config with several seeds: a series of runs."""
