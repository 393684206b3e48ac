"""Who else is told what happens in a search? Listeners of programs, and the trackers of labs."""
