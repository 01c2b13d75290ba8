"""From a YAML file to a `Config`, or to every problem with its location. Imports no torch."""
