"""`alignedcut segment`: from cuts and ground-truth masks to scores of every slot and overlays.

Not here: the measures (core/groups), the readers of masks (datasets).
"""
