"""The commands: they parse arguments, call the pipeline and print. Heavy modules are imported only when needed."""
