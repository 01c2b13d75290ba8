"""The lecture's network in Keras: `python keras_lecture.py EPOCHS`; see lecture.py."""

from __future__ import annotations

import json
import sys

import keras
from keras import layers
from keras_clock import Clock
from mnist_files import read

EPOCHS = int(sys.argv[1])

images, labels = read("train")
test_images, test_labels = read("t10k")
hidden = [layers.Dense(64, activation="relu") for _ in range(3)]
model = keras.Sequential([keras.Input((28, 28)), layers.Flatten(), *hidden, layers.Dense(10)])
model.compile(
    optimizer=keras.optimizers.Adam(0.003),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
clock = Clock()
model.fit(images, labels, batch_size=256, epochs=EPOCHS, verbose=0, callbacks=[clock])
_, accuracy = model.evaluate(test_images, test_labels, batch_size=256, verbose=0)
print(json.dumps({"epoch_seconds": clock.seconds, "test_accuracy": accuracy}))
