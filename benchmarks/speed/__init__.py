"""How fast is it on a CPU? Both sides of each ratio are measured in the same run."""
