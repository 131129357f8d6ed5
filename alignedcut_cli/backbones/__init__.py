"""Vision transformers of timm and open_clip: which there are, how they load, and where their features are read."""
