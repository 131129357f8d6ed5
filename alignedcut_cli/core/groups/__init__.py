"""Measures on eigenvectors and embeddings: segments against labels, clusters, concepts, transitions.

Not here: computing eigenvectors (core/graph).
"""
