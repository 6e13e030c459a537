"""Core ML files against coremltools' own: how big they are, what they cost, and how they answer."""
