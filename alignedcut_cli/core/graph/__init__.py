"""The affinity of nodes and its normalized cut: exact, low-rank by landmarks, Nystrom; certificates, precision, tiles.

Not here: reading nodes (nodes), and measures on eigenvectors (core/groups).
"""
