"""How is one network trained? The reference path: every other way must equal it."""
