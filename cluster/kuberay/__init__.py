"""Manifests for KubeRay, and the code that renders and checks them."""
