"""What is measured on eigenvectors and places: segments against labels, clusters, concepts, transitions.

Not here: how eigenvectors come about (core/graph).
"""
