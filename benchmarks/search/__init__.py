"""How good is the search? Replays of recorded trainings."""
