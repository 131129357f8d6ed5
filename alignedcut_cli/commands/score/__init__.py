"""`alignedcut score`: features and brain data in, how well each layer predicts each region out.

Not here: the measures (core/encode), the readers of brain data (brain).
"""
