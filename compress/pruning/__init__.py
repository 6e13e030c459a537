"""The rooms of channel pruning: which channels go together, what they are worth, how many go, and the cut."""
