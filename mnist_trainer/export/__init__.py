"""Write a trained model to a file that other programs run, and verify it against the model before.

A format is a function that takes an `ExportSource` and returns files, of which the first one was run and compared.
"""
