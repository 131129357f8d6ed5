"""`alignedcut probe`: how much of an embedding a few queries in words keep, for classes or for the brain.

Not here: the text towers that read queries (backbones), ridge regression (core/encode).
"""
