"""Data sets, training, evaluation and the registry of fitted models."""
