"""The statements of the lectures as experiments: each one is run, drawn and checked."""
