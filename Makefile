# make demo   three nodes on this machine: a ring forms, breaks, heals
# make test   every test; as root also those with real clusters in network namespaces
# make sim    ten thousand simulated clusters, and large rings; minutes
# make fuzz   atheris on every decoder of bytes from outside, a minute each
# make sanitize   the compiled modules under AddressSanitizer and UndefinedBehaviorSanitizer
# make bench  beside stock corosync: throughput, latency, CPU; as root, twenty minutes
# make quorum beside stock nodes and corosync-vqsim: every feature, every mix; as root, hours
# make lint   ruff and mypy --strict
# make drop-in   Pacemaker, a quorum device and the Debian package on it; as root, minutes
# make install   into PREFIX (/usr/local), below DESTDIR; make uninstall takes it away
# make deb    a Debian package, in build/deb
# Each sets up what it needs: packages of the system (as root), then a Python environment in .venv.

PYTHON ?= python3
VENV ?= .venv
bin = $(VENV)/bin
# What is compiled, as setup.py finds it.
modules = $(sort $(shell find ipc aisexec -name '_*.pyx'))
sources = setup.cfg setup.py pyproject.toml $(modules) $(sort $(shell find ipc aisexec -name '*.pxd')) \
	$(wildcard ipc/*.h) ipc/guard.c ipc/ring.c ipc/ring_files.c ipc/semaphore.c

.PHONY: demo test sim fuzz sanitize bench quorum lint drop-in install uninstall deb clean

# Arguments for pytest, as in: make test TESTS="tests/unit -k ring"
TESTS ?=

demo: bootstrap-demo $(VENV)/.stamp
	@$(bin)/python -m tools.demo

test: bootstrap-test $(VENV)/.stamp
	@$(if $(strip $(TESTS)),$(bin)/python -m pytest $(TESTS),$(bin)/python -m tests)

# As in: make sim SEEDS=20000-30000
SEEDS ?= 10000

sim: bootstrap-lint $(VENV)/.stamp
	$(bin)/aisexec-sim --seeds $(SEEDS) --jobs $$(nproc)
	$(bin)/python -m aisexec.sim.large 32 64

# As in: make fuzz SECONDS=600 TARGETS="totem_recovery ipc_server"
SECONDS ?= 60
TARGETS ?=

fuzz: bootstrap-lint $(VENV)/.stamp
	@$(bin)/python -c "import atheris" 2>/dev/null || \
		$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	$(bin)/python -m tests.fuzz.run --seconds $(SECONDS) $(TARGETS)

# Arguments for pytest, as in: make sanitize SANITIZE="tests/unit -k twin"
SANITIZE ?=

sanitize: bootstrap-lint $(VENV)/.stamp
	$(bin)/python -m tests.sanitize $(SANITIZE)

# As in: make bench BENCH="--quick --only one latency"
BENCH ?=

bench: bootstrap-test $(VENV)/.stamp
	$(bin)/python -m tests.bench $(BENCH)

# As in: make quorum VQSIM=2000 FEATURE=device
VQSIM ?= 600
FEATURE ?= 1

quorum: bootstrap-test $(VENV)/.stamp
	AISEXEC_VQSIM=$(VQSIM) AISEXEC_QUORUM_MATRIX=$(FEATURE) $(bin)/python -m pytest -q tests/quorum

lint: bootstrap-lint $(VENV)/.stamp
	$(bin)/ruff check .
	$(bin)/mypy

# Arguments for pytest, as in: make drop-in DROP_IN="tests/drop_in/test_qdevice.py"
DROP_IN ?= tests/drop_in

drop-in: bootstrap-drop-in bootstrap-deb $(VENV)/.stamp
	$(bin)/python -m pytest --timeout 300 $(DROP_IN)

# As in: make install PREFIX=/usr DESTDIR=/tmp/image; see tools/install.
PREFIX ?= /usr/local

install: bootstrap-lint
	@PYTHON=$(PYTHON) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) tools/install

uninstall:
	@PYTHON=$(PYTHON) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) tools/install remove

# Made of a copy: what is built leaves things behind, and puts the package beside its directory.
deb: bootstrap-deb
	@rm -rf build/deb && mkdir -p build/deb/source
	@tar -c --exclude='*.so' --exclude='_*.c' --exclude=__pycache__ --exclude=.venv \
		--exclude=./build --exclude=./.git --exclude='./.*' . | tar -x -C build/deb/source
	@cd build/deb/source && dpkg-buildpackage --build=binary --no-sign
	@ls build/deb/*.deb

.PHONY: bootstrap-demo bootstrap-test bootstrap-lint bootstrap-drop-in bootstrap-deb
bootstrap-demo bootstrap-test bootstrap-lint bootstrap-drop-in bootstrap-deb: bootstrap-%:
	@PYTHON=$(PYTHON) tools/bootstrap $*

# The compiled modules are built in place by the editable installation; if one is not there, or older
# than its source, it is done again.
python = $(firstword $(wildcard $(bin)/python) $(PYTHON))
ending = $(shell $(python) -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
stale = $(shell for module in $(modules:.pyx=); do \
	[ "$$module$(ending)" -nt "$$module.pyx" ] || echo "$$module"; done)
ifneq ($(strip $(stale)),)
.PHONY: $(VENV)/.stamp
endif
$(VENV)/.stamp: $(sources) Makefile | bootstrap-lint
	@echo "setting up $(VENV)"
	@[ -x $(bin)/python ] || $(PYTHON) -m venv $(VENV)
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .fuzz .sanitize build dist *.egg-info $(modules:.pyx=.c) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find ipc aisexec -name '_*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
