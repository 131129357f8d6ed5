"""`alignedcut extract`: from photographs to one feature set per model, shard by shard.

Not here: models and taps (backbones), reading images (datasets).
"""
