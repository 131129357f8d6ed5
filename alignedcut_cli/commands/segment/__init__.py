"""`alignedcut segment`: cuts and ground-truth masks in, scores of every slot and overlays out.

Not here: the counting (core/groups), the readers of masks (datasets).
"""
