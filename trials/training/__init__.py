"""How is one network trained? This is the reference; every faster way must agree with it."""
