"""`alignedcut concepts`: responses of brain areas to classes, concepts, clusters and picked patches.

Not here: the measures (core/groups) and the figures (report).
"""
