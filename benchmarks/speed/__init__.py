"""How fast is it? Each ratio is measured side by side in one run."""
