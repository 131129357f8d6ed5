"""`alignedcut probe`: how much of an embedding a few text queries keep, for predicting classes or the brain.

Not here: the text towers that read queries (backbones), ridge regression (core/encode).
"""
