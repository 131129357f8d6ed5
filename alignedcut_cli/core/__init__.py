"""The science: pure functions on tensors. No files, no printing, no globals."""
