"""The science: pure functions on tensors, in rooms that need only themselves and numerics.

Not here: files, options, printing, global state.
"""
