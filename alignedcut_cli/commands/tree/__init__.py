"""`alignedcut tree`: from a cut to a hierarchical clustering of its nodes, each split with its support and differences.

Not here: the tree and its support (core/groups/tree), means and their errors (core/groups/activations).
"""
