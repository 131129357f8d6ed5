"""Pictures of artifacts. Derived from them, and drawn again at will."""
