"""Whole meshes on virtual time: scenarios, what must hold at every step, and what came of a run."""
