"""How fast is it on a GPU? This package needs neither Ray nor Optuna."""
