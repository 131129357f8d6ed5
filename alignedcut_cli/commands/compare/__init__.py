"""`alignedcut compare`: from two cuts, colorings or alignments to their agreement slot by slot.

Not here: the measures (core/graph/subspaces, core/encode/similarity) and the figures (report).
"""
