"""The artifact store: projects, artifacts, shards, locks, provenance. Imports neither torch nor core."""
