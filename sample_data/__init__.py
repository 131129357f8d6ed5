"""A small world whose truth is known: scenes, a simulated brain and three tiny vision transformers."""
