"""Bytes between two nodes by way of a public one: its side, theirs, and which public nodes a node keeps for it."""
