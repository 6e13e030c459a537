"""Networks that spend less on easy samples, or on less hardware: early exits and slimmable widths."""
