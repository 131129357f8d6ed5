"""The nodes of a graph and their rows: slots, the spaces in which nodes are compared, reading and transforming rows.

Not here: what is computed on the rows (core) and how features are stored (store).
"""
