"""The paper's experiments, run by the paper's own protocol."""
