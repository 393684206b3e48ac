"""How does a network that is not one of the six families become one whose ReLUs can be placed?"""
