"""The commands: they parse, call the pipeline, and print. Nothing heavy is imported before it is needed."""
