"""Which operations of an ML program the Neural Engine could take, by published rules: eligible, never "runs on"."""
