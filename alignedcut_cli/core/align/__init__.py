"""One linear map per slot into shared channels: reduced-rank ridge start, loss, training, agreement of slots, scores.

Not here: responses to images (brain), and graphs (core/graph).
"""
