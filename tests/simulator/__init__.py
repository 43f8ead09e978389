"""The deterministic simulator: whole shards on a log, a store and a clock that one seed drives through faults.

Only what lies outside a shard is a fake, and each fake is held to the promises of the interface it stands for by the
contract tests, which run on it and on the real part alike.
"""
