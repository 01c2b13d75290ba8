"""A sweep whose trials take long enough to be killed or shared."""

from __future__ import annotations

LONG = """\
base:
  threads: 1
  data: {name: digits, limit: 20, batch_size: 32, validation: 40}
  model: {architecture: mlp, hidden: [8]}
  training: {epochs: 40}
  report: {plots: false}
space: {optimizer.lr: {log_uniform: [0.001, 0.1]}}
pruner: none
"""
