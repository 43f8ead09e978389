"""What a shard does for the first time, done in the server its processes are forked from: imports, kernels, models.

A process that is killed a moment after its start would otherwise spend that moment on them.
"""

from actors.rehearsal import rehearse
from engine.learning.registry import MODELS, Scorers
from engine.settings import load_rules

rehearse(Scorers(load_rules(), None, MODELS))
