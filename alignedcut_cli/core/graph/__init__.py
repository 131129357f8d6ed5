"""The affinity of nodes and its normalized cut: exact, low-rank by landmarks, Nystrom; certificates, precision, tiles.

Not here: which nodes there are (nodes), and what eigenvectors mean (core/groups).
"""
