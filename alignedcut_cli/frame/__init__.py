"""What every command shares: options, configuration, its run and its artifact, what it says, pictures drawn once.

Not here: anything of one command alone, and anything of nodes.
"""
