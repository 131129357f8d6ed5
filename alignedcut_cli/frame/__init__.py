"""What every command shares: options, configuration, the run and its artifact, output, pictures drawn once.

Not here: anything of one command alone, and anything of nodes.
"""
