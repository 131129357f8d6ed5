"""`alignedcut concepts`: predicted responses of brain areas to classes, concepts and single patches.

Not here: the measures (core/groups) and the figures (report).
"""
