"""What people see of a run: lines in a terminal, drawings, TensorBoard."""
