"""Does one training with a learned gate at every ReLU save trainings of a search?"""
