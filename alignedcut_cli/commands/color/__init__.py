"""`alignedcut color`: a cut in, a colour for every node and pictures out.

Not here: t-SNE and the colour cube (core/embed), sheets of pictures (report).
"""
