"""`alignedcut align`: pairs images with responses, fits the maps, scores them, draws the scores.

Not here: the fit itself (core/align), and how aligned rows are read (nodes/spaces).
"""
