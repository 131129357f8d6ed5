"""How well features predict responses: RDMs and their comparison, ridge with exact leave-one-out, CKA, ceilings, draws.

Not here: shared channels (core/align), and where features and responses come from (store, brain).
"""
