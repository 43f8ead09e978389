"""Configuration data: TOML and YAML files, read through importlib.resources."""
