"""The TFLite exporter against other exporters, as whole processes: `python -m edgewright.benchmarks.exporters`."""
