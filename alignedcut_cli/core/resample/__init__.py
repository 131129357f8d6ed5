"""Resampling and its seeds: bootstrap draws, random orders, intervals, p-values. Every interval and null comes from here.

Not here: what is resampled, which is each measure's own (core/encode, core/groups, core/graph).
"""
