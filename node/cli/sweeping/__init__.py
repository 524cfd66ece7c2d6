"""Chip Monte-Carlo over the mesh: the same product on many chips, drawn by seed."""
