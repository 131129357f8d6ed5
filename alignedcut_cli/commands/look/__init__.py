"""`alignedcut look`: from photographs and models to one page, by running other commands.

Not here: those commands, and running a chain of them (frame/chain).
"""
