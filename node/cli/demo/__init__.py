"""The demo: a photograph taken through a single-pixel camera, recovered by a mesh that alone can hold the matrix."""
