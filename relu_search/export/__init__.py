"""How does a trained model run elsewhere? Cards, export formats, checks of them, and timings."""
