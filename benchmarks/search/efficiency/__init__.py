"""Which strategy finds the best placement with the fewest trainings?"""
