"""`alignedcut score`: from features and brain data to how well each layer predicts each region.

Not here: the measures (core/encode), the readers of brain data (brain).
"""
