"""What a kind of cell does to weights, measured on simulated chips and drawn."""
