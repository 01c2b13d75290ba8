"""Trains the lecture's network on so many images, the training set again and again: `python repeated.py IMAGES`.

Prints one line of JSON: seconds of each epoch.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import torch

from mnist_trainer import fit, load_config
from mnist_trainer.config.shipped import shipped_path
from mnist_trainer.data.loaders import load_splits
from mnist_trainer.training.prepare import prepare_state

EPOCHS = 3

images = int(sys.argv[1])
config = load_config(shipped_path("lecture"), [f"training.epochs={EPOCHS}", *sys.argv[2:]])
splits = load_splits(config.data)
again = replace(splits, train=splits.train.subset(torch.arange(images) % len(splits.train)))
print(json.dumps({"epoch_seconds": [record.seconds for record in fit(prepare_state(config, again))]}))
