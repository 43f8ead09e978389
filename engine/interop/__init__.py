"""Foreign formats in, events out: Fitabase, LifeSnaps, Tuva."""
