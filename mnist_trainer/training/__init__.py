"""The training loop and its state. This stage writes no files and prints nothing."""
