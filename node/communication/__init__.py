"""COMMUNICATION, upper half: who is alive, what to tell whom, whom to choose."""
