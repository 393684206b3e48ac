"""What a search learns from an earlier run."""
