"""train, resume, evaluate, predict and plan: each runs the stages before it."""
