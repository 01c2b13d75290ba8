"""What a training and its files survive; the parts of `benchmarks/reliability.py`."""
