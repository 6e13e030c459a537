"""A torch module on disk without pickle: the user's factory, the structural edits as JSON, and a safetensors file.

`X.torch/` holds ``artifact.json`` and ``weights.safetensors``. Loading imports the factory, replays the edits and loads
the weights, so it runs the factory's code: only a factory that the user named, or with `trusted`.
"""
