"""Optuna over the keys of a config."""
