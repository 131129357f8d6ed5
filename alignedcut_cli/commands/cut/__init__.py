"""`alignedcut cut`: feature sets in, the eigenvectors of their graph out; `auto` and the solver are resolved here.

Not here: the solvers (core/graph), and slots, spaces and rows (nodes).
"""
