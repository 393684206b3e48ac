"""Do our runs agree with the paper's? Its experiments, run by its protocol."""
