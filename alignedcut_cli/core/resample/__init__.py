"""Resampling and its seeds: bootstrap weights, permutations, intervals and p-values, for every interval and null.

Not here: what is resampled, which is each measure's own (core/encode, core/groups, core/graph).
"""
