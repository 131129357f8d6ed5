"""`alignedcut tree`: a cut in, one nested tree of its nodes out, each split with its support and what tells its sides apart.

Not here: the tree and its support (core/groups/tree), means and their errors (core/groups/activations).
"""
