"""A command with sweeps and nothing to compute, for the tests of clusters: workers find it as they find the product's."""
