"""COMPUTATION: matrices on simulated crossbars, in pure numpy."""
