"""`alignedcut cut`: from feature sets to the eigenvectors of their graph; `auto` and the solver are resolved here.

Not here: the solvers (core/graph), and slots, spaces and rows (nodes).
"""
