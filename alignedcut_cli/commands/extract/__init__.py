"""`alignedcut extract`: photographs in, a feature set a model out, shard by shard.

Not here: models and taps (backbones), reading images (datasets).
"""
