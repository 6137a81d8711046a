"""Has ONNX Runtime parse a provider's options: `python parse_options.py MODEL PROVIDER JSON`. Needs no dfx."""

import json
import sys

import onnxruntime

model, provider, options = sys.argv[1:]
settings = onnxruntime.SessionOptions()
settings.log_severity_level = 2  # warnings too: a profile that cannot be read is one
onnxruntime.InferenceSession(model, settings, providers=[(provider, json.loads(options))], enable_fallback=0)
