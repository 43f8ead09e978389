"""The composition root: command line, bootstrap, local stack."""
