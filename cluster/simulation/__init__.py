"""Simulation jobs: scenario files in, results, manifests and reports out."""
