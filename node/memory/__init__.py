"""THE DUAL MEMORY: told facts, it answers questions."""
