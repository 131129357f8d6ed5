"""`alignedcut extract`: photographs in, one feature set per model out, shard by shard.

Not here: models and taps (backbones), reading images (datasets).
"""
