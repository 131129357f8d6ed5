"""`alignedcut look`: from photographs and models to one page, by the commands that exist.

Not here: what those commands do; how a chain runs is in frame/chain.
"""
