"""Many runs: a series of seeds and a sweep, which share processes and record, and the tables of `mnist-runs`."""
