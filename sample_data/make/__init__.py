"""Code that makes every file of `sample_data`: scenes, brain, models and the table of probes."""
