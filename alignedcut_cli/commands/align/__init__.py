"""`alignedcut align`: pair images with responses, fit one map per slot, score the prediction, draw the scores.

Not here: the fit itself (core/align), and how aligned rows are read (nodes/spaces).
"""
