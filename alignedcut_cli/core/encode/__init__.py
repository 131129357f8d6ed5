"""How well features predict responses: RDMs and their comparison, ridge with exact leave-one-out, CKA, noise ceilings.

Not here: shared channels (core/align), and reading features and responses (store, brain).
"""
