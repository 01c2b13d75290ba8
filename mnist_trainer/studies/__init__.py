"""Many runs: seeds, sweeps, and the table of what lies in `runs/`."""
