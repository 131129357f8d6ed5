"""Projects, artifacts, shards, locks, provenance: all state on disk. Importing it loads neither torch nor core.

Not here: what an artifact means.
"""
