"""One node of the mesh: what decides, what does, and how people talk to it."""
