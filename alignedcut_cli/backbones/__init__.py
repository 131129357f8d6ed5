"""Vision transformers of timm and open_clip: which there are, how they load, where their features are read.

Not here: images and their files (datasets), feature sets on disk (store).
"""
