"""Vision transformers of timm and open_clip: the registry, loading, and the taps where features are read.

Not here: images and their files (datasets), feature sets on disk (store).
"""
