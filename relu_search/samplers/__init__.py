"""What to try next? Every strategy is an Optuna sampler."""
