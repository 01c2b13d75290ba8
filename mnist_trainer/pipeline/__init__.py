"""train, evaluate, predict: each puts the stages together. The first place that knows all of them."""
