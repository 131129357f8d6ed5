"""Which nodes there are and how their rows are read: slots, the spaces that they are compared in, rows of a graph.

Not here: what is computed on the rows (core) and how features are stored (store).
"""
