"""How long the trainer takes, and how much memory, beside what people would use instead; the parts of `benchmarks/run`.

Each row of the table is a module with a `measure(options)`; `python benchmarks/run NAME` runs it.
"""
