"""The public face: connect to a mesh, put matrices into it, multiply by them."""
