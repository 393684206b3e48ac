"""How fast is it on a GPU? Needs neither Ray nor Optuna."""
