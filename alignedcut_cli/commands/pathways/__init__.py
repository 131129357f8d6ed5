"""`alignedcut pathways`: cuts and masks in, how much their clusters tell of what is there and of where it is.

Not here: adjusted mutual information (core/groups), and the cuts themselves (commands/cut).
"""
