"""COMMUNICATION, lower half: how a peer is reached."""
