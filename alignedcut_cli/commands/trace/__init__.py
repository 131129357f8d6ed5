"""`alignedcut trace`: paths of pixels through the layers, and where groups of nodes diverge.

Not here: the statistics (core/groups) and the figures (report).
"""
