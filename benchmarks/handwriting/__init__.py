"""The parts of `handwriting.py`."""
