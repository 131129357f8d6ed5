"""Projects, artifacts, shards, locks, provenance: the only state. Imports neither torch nor core when it is imported.

Not here: what an artifact means.
"""
