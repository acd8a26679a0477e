# The commands of development. `make` alone installs; everything stays inside this folder.
PYTHON ?= python3
BIN := .venv/bin
export GX_ANALYTICS_ENABLED := False
OIP := triton kserve mlserver open-inference

.PHONY: help install demo airflow test test-examples test-acceptance test-compose test-toolkits test-oip bench-api docs pictures check faults soak lock clean
install: .venv/installed  ## install everything into .venv
	@$(if $(filter-out install,$(MAKECMDGOALS)),:,echo "Installed in .venv. Next: make demo, or: . .venv/bin/activate && prescore --help")

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' Makefile

# uv, which is pinned and hashed by the same lock, installs in parallel and compiles bytecode: Great Expectations imports
# in 4 s with bytecode and in 13 s without. Playwright is large and only installed by test-acceptance.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "prescore needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version). Choose another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@awk '/^[a-z]/ {on = !/^playwright==/} on' requirements.lock > .venv/lock.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode .venv/lock.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## show prescore from end to end on real flights: one minute
	$(BIN)/python jobs/flights/demo.py

# worksteal gives each worker a half of the tests in their order, so that few modules set up their fixtures in both.
test: install  ## run all checks and the test suite on a real Postgres
	$(MAKE) --jobs 2 check docs
	$(BIN)/pytest -n 2 --dist worksteal

airflow: install models/flight_delay.onnx  ## start Airflow on this machine with the flight example: http://localhost:8080
	$(BIN)/python -m prescore_dags.standalone

models/flight_delay.onnx: .venv/installed
	$(BIN)/python jobs/flights/train.py

test-examples: install  ## run the flights, live answers under load, the demo, the notebook and the worked examples: 4 minutes
	$(BIN)/pytest -n 2 -o norecursedirs=".*" tests/examples

test-acceptance: install  ## run end-to-end tests of Airflow: standalone, in a browser, with Celery and Redis: 15 minutes
	@awk '/^[a-z]/ {on = /^playwright==/} on' requirements.lock > .venv/playwright.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r .venv/playwright.txt
	$(BIN)/pytest -o norecursedirs=".*" tests/acceptance --ignore tests/acceptance/test_compose.py

test-compose: install  ## test docker-compose.yml with a Docker engine: 15 minutes
	$(BIN)/pytest -o norecursedirs=".*" tests/acceptance/test_compose.py

test-toolkits: install .venv-toolkits/installed  ## run the pages about exporting with every toolkit: 5 minutes
	$(BIN)/pytest -o norecursedirs=".*" tests/toolkits

# The toolkits are large, and so they are installed apart. On PyPI, torch brings 3 GB of CUDA. Its CPU builds are in an index of
# PyTorch's own, which is why the lock leaves torch out: set PIP_EXTRA_INDEX_URL to that index to do without CUDA.
.venv-toolkits/installed: requirements-toolkits.lock pyproject.toml .venv/installed
	$(PYTHON) -m venv .venv-toolkits
	$(BIN)/uv pip sync --quiet --python .venv-toolkits/bin/python --require-hashes --compile-bytecode requirements-toolkits.lock
	$(BIN)/uv pip install --quiet --python .venv-toolkits/bin/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip --python .venv-toolkits/bin/python install --quiet --disable-pip-version-check --no-deps --retries 1 \
	  $$(grep -o 'torch==[0-9.]*' pyproject.toml)
	@touch $@

# PRESCORE_TEST_CRDS names a folder with the engines' custom resource definitions: see tests/oip/test_crds.py.
test-oip: install $(OIP:%=.venv-oip/%/installed)  ## run the clients of the Open Inference Protocol: 2 minutes
	$(BIN)/pytest -o norecursedirs=".*" tests/oip

# Each client has an environment of its own: some need older packages than prescore, and no two can share a process.
.venv-oip/%/installed: tests/oip/%.lock .venv/installed
	$(PYTHON) -m venv .venv-oip/$*
	$(BIN)/uv pip sync --quiet --python .venv-oip/$*/bin/python --require-hashes $<
	@touch $@

faults: install  ## kill runs in every step, twenty times each, and verify what they leave: 30 minutes
	$(BIN)/python tests/fault_matrix.py --kills 20

soak: install  ## run what make test leaves out: long random sequences, 200 swaps, more kills, Airflow elsewhere: 15 minutes
	PRESCORE_SOAK=60 $(BIN)/pytest -q \
		tests/test_incremental_states.py tests/test_version_states.py tests/test_swaps.py tests/test_faults.py \
		tests/test_dags.py tests/test_object_store.py tests/test_api_roundtrips.py tests/test_api_schema.py tests/test_numbers.py \
		tests/test_properties.py

bench-api: install  ## measure the lookup API's requests per second with wrk (apt-get install wrk): 7 minutes
	$(BIN)/python benchmarks/lookups.py

docs: .venv-docs/installed  ## build the documentation as a website in build/site, and verify its links: 10 seconds
	.venv-docs/bin/python docs/website.py
	@echo "To read it: python3 -m http.server --directory build/site"

.venv-docs/installed: requirements-docs.lock
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@

pictures: install  ## draw the pictures of the documentation (apt-get install chromium): 2 minutes
	@awk '/^[a-z]/ {on = /^playwright==/} on' requirements.lock > .venv/playwright.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r .venv/playwright.txt
	$(BIN)/python docs/pictures/make.py

check: install  ## check formatting, lint, types and import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports

# What torch requires on PyPI and its CPU builds do not.
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cccl nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime \
  nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 \
  nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx

lock:  ## update the lock files within the ranges of pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --group worked-examples \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra jobs --group toolkits --constraint requirements.lock \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade pyproject.toml -o requirements-toolkits.lock \
	  $(addprefix --no-emit-package ,torch triton $(CUDA))
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group docs \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -o requirements-docs.lock
	$(foreach client,$(OIP),$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group oip-$(client) \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -o tests/oip/$(client).lock &&) true

clean:  ## remove everything that was installed or built
	rm -rf .venv .venv-docs .venv-oip .venv-toolkits build dist *.egg-info jobs/*.egg-info
