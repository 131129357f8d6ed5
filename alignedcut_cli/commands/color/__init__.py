"""`alignedcut color`: from a cut to a colour for every node, and pictures.

Not here: t-SNE and the colour cube (core/embed), sheets of pictures (report).
"""
