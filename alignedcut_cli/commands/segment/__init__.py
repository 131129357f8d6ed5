"""`alignedcut segment`: cuts and masks in, scores of every slot and overlays out.

Not here: the counting (core/groups), the readers of masks (datasets).
"""
