"""`alignedcut compare`: two cuts, colorings or alignments in, how far they agree slot by slot out.

Not here: the measures (core/graph/subspaces, core/encode/similarity) and the figures (report).
"""
