"""Scale scenarios; each run writes its numbers and the description of its machine."""
