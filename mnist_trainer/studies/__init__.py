"""Many runs: `seeds/` trains one config with several seeds, `sweep/` searches for better values of its keys, `runs/`
shows what lies in a folder of runs. The first two share the processes of `workers.py`."""
