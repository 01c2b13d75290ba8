"""Keras' example "Simple MNIST convnet": `python keras_convnet.py EPOCHS`; see lecture.py.

Two 3×3 convolutions (32, 64) with ReLU and 2×2 max pooling each, dropout 0.5, softmax; Adam, batch 128, a tenth to
validate (https://keras.io/examples/vision/mnist_convnet).
"""

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
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
clock = Clock()
targets = keras.utils.to_categorical(labels, 10)
model.fit(images[..., None], targets, batch_size=128, epochs=EPOCHS, validation_split=0.1, verbose=0, callbacks=[clock])
_, accuracy = model.evaluate(test_images[..., None], keras.utils.to_categorical(test_labels, 10), verbose=0)
print(json.dumps({"epoch_seconds": clock.seconds, "test_accuracy": accuracy}))
