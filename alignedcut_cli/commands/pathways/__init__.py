"""`alignedcut pathways`: the information of cuts' clusters about classes (what) and positions (where).

Not here: adjusted mutual information (core/groups), and the cuts themselves (commands/cut).
"""
