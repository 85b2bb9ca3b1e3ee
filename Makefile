# violin: one program, built out of tree. `make help` lists what can be made.
PREFIX    ?= /usr/local
DESTDIR   ?=
BUILD     ?= build
CC        ?= gcc
CLANG     ?= clang
PYTHON    := /usr/bin/python3

WARN      := -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wconversion
CFLAGS    ?= -O2 -g
VCFLAGS   := $(WARN) -D_GNU_SOURCE -DLIBXL_API_VERSION=0x041400 -I. -fno-strict-aliasing \
             -fstack-protector-strong -pthread
LDLIBS    := -lxenlight -lxentoollog -lxenstore -lconfuse -lsqlite3 -lmnl -luv -lsodium -lcrypto -lmsgpackc -lm -pthread
FAULTS    ?= 0
ifneq ($(FAULTS),0)
VCFLAGS   += -DVIOLIN_FAULTS=1
endif

ifeq ($(V),1)
Q :=
else
Q := @
MAKEFLAGS += --no-print-directory
endif

FOLDERS   := peer/base gossip overlay policy xen peer
SRC       := $(filter-out peer/main.c,$(foreach d,$(FOLDERS),$(sort $(wildcard $(d)/*.c))))
OBJ       := $(SRC:%.c=$(BUILD)/obj/%.o)
SIMLIB    := $(sort $(filter-out %_main.c,$(wildcard tests/sim/*.c)))
SIMOBJ    := $(SIMLIB:%.c=$(BUILD)/obj/%.o)
UNIT      := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
SIMS      := $(patsubst tests/sim/%_main.c,$(BUILD)/tests/%,$(filter-out %/violin_sim_main.c,$(wildcard tests/sim/*_main.c)))
TOOLS     := $(patsubst tests/unit/tool_%.c,$(BUILD)/tests/%,$(wildcard tests/unit/tool_*.c))
NETTESTS  := $(foreach t,$(sort $(wildcard tests/net/test_*.py)),"$(PYTHON) $(t)")
FUZZERS   := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: all demo check check-xen check-long check-unit check-sim check-net check-asan check-asan-run check-tsan-run fuzz lint soak \
        format deps install clean help need need-build
all: need-build $(BUILD)/violin

help:
	@echo 'make            build $(BUILD)/violin'
	@echo 'make demo       four simulated hosts adapt before your eyes (no Xen needed; KEEP=1 leaves it running)'
	@echo 'make check      unit tests, simulator, real peers in network namespaces'
	@echo 'make check-xen  the main job on real Xen: two hosts, then three, in QEMU (no Xen needed here; about 25 minutes)'
	@echo 'make check-xen-create  an environment made from a root image over two real Xen hosts, and removed (5 to 10 minutes)'
	@echo 'make check-disks a disk copied to another host while it is written to, in a kernel of its own in QEMU (some minutes)'
	@echo 'make check-xen-disks  disks move with their guests between two real Xen hosts, out and back, and with faults (three quarters of an hour)'
	@echo 'make check-xen-domains  two domains of two real Xen hosts: an environment moves to the other (half an hour on a busy machine)'
	@echo 'make check-asan the unit tests and the simulator under ASan and UBSan, the threads under TSan'
	@echo 'make check-long hours of it: a thousand seeds, 64 real peers, long fuzzing, real Xen XEN_RUNS=5 times'
	@echo 'make mutants    broken variants of policy and handover that the simulators must catch (many minutes)'
	@echo 'make model      handover and environment moves in Promela: all states with spin, and broken variants that it must catch'
	@echo 'make scenarios  experiments of the paper, whole peers in the simulator, SEEDS=10: a table, build/scenarios/index.html'
	@echo 'make soak       random mixed faults in the simulator, SECONDS=60 of them, JOBS=2; a failing seed is printed'
	@echo 'make bench      all benchmarks, or make bench-NAME (idle, gossip, scale, policy: TRACES=FILE...; image, overlay, move: INSTALL=1 installs what they are compared with)'
	@echo 'make fuzz       every fuzz target, SECONDS=30 each'
	@echo 'make lint       include rules, warnings as errors, function sizes'
	@echo 'make format     clang-format over the sources'
	@echo 'make deps       install the Debian packages of deploy/packages.txt (root)'
	@echo 'make install    into DESTDIR=$(DESTDIR) PREFIX=$(PREFIX)'
	@echo 'make clean      remove $(BUILD)/'
	@echo 'V=1 shows the commands'

# What is missing is named with the line that installs it.
need-build:
	@deploy/need.sh --build
need:
	@deploy/need.sh
deps:
	@deploy/need.sh --install

$(BUILD)/violin: $(BUILD)/obj/peer/main.o $(BUILD)/libviolin.a
	@echo '  LINK   $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/violin-sim: $(BUILD)/obj/tests/sim/violin_sim_main.o $(BUILD)/libsim.a $(BUILD)/libviolin.a
	@echo '  LINK   $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -ljansson $(LDLIBS) -lm

$(BUILD)/libviolin.a: $(OBJ)
	@echo '  AR     $@'
	$(Q)rm -f $@ && ar rcs $@ $(OBJ)
$(BUILD)/libsim.a: $(SIMOBJ)
	@echo '  AR     $@'
	$(Q)rm -f $@ && ar rcs $@ $(SIMOBJ)

$(BUILD)/obj/%.o: %.c
	@echo '  CC     $<'
	@mkdir -p $(@D)
	$(Q)$(CC) $(VCFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/libsim.a $(BUILD)/libviolin.a
	@echo '  LINK   $@'
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka -ljansson $(LDLIBS) -lm
$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/tool_%.o $(BUILD)/libviolin.a
	@echo '  LINK   $@'
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -ljansson $(LDLIBS) -lm
$(BUILD)/tests/%: $(BUILD)/obj/tests/sim/%_main.o $(BUILD)/libsim.a $(BUILD)/libviolin.a
	@echo '  LINK   $@'
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS) -lm
$(BUILD)/tests/oom: LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

# ---- tests -------------------------------------------------------------------------------------
RUN := $(PYTHON) tests/run.py --results $(BUILD)/results
VECTORS := /usr/share/gocode/src/github.com/flynn/noise/vectors.txt

check: deps
	$(Q)$(MAKE) all check-unit check-sim check-net
check-unit: need $(BUILD)/violin $(UNIT) $(TOOLS)
	$(Q)$(RUN) unit $(UNIT)
	$(Q)$(RUN) vectors "$(BUILD)/tests/noise_vectors $(VECTORS)" \
	    "$(PYTHON) tests/unit/test_noise_json.py $(BUILD)/tests/noise_vectors $(VECTORS)"
check-sim: need $(SIMS)
	$(Q)$(RUN) --jobs 2 sim $(SIMS)
check-net: faults
	$(Q)VIOLIN=$(BUILD)/faults/violin PYTHONDONTWRITEBYTECODE=1 $(RUN) --jobs 4 --timeout 900 net $(NETTESTS)

# Seeds of random mixed faults for as long as asked; one that fails is printed with what replays it.
soak: need $(BUILD)/violin-sim $(BUILD)/tests/envmove $(BUILD)/tests/hostile
	$(Q)SEEDS=$(or $(SEEDS),1000) $(BUILD)/tests/envmove
	$(Q)SEEDS=$(or $(SEEDS),1000) $(BUILD)/tests/hostile
	$(Q)$(BUILD)/violin-sim soak --seconds $(or $(SECONDS),60) --jobs $(or $(JOBS),2) --seed $(or $(SEED),1)

# The models of tests/model/, all of their states, and variants that must be caught: at most 4 minutes.
.PHONY: model
model: need
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 900 model "$(PYTHON) tests/model/check_model.py --build $(BUILD)/model"

# Two real Xen hosts in QEMU; what they need beside deploy/packages.txt is downloaded below build/xen.
check-xen: deps
	$(Q)$(MAKE) faults
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 2400 xen "$(PYTHON) tests/xen/check_xen.py $(BUILD)/faults/violin"

# Two real Xen hosts: an environment is made from images with one command, and removed without a trace.
.PHONY: check-xen-create
check-xen-create: deps
	$(Q)$(MAKE) all
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 3600 xen-create "$(PYTHON) tests/xen/check_create.py $(BUILD)/violin"

# A disk copied between two hosts by device mapper and nbd while it is written to: one Debian kernel in QEMU, some minutes.
.PHONY: check-disks
check-disks: deps $(BUILD)/tests/disk_probe $(BUILD)/tests/disk_host_probe
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 1800 disks "$(PYTHON) tests/xen/check_disks.py $(BUILD)/tests/disk_probe $(BUILD)/tests/disk_host_probe"

# Two real Xen hosts: a guest's disk moves with it, live, out and back, and all that can go wrong with that.
.PHONY: check-xen-disks
check-xen-disks: deps
	$(Q)$(MAKE) faults
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 7200 xen-disks "$(PYTHON) tests/xen/check_xen_disks.py $(BUILD)/faults/violin"

# Four real Xen hosts in two domains: an environment moves between them, its head stays.
.PHONY: check-xen-domains
check-xen-domains: deps
	$(Q)$(MAKE) faults
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 7200 xen-domains "$(PYTHON) tests/xen/check_domains.py $(BUILD)/faults/violin"

# Broken variants of handover, environment moves and the budget that the simulators must catch; many minutes.
.PHONY: mutants
mutants: need $(SIMS)
	$(Q)BUILD=$(abspath $(BUILD)) PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 14400 mutants "$(PYTHON) tests/sim/mutants.py"

# What takes hours: many more seeds, long fuzzing, real Xen again and again.
XEN_RUNS ?= 5
.PHONY: check-many
check-many: faults
	$(Q)MANY=64 VIOLIN=$(BUILD)/faults/violin PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 3600 many \
	    "$(PYTHON) tests/net/test_many.py"
check-long: deps
	$(Q)SEEDS=1000 $(MAKE) check-sim RUN="$(RUN) --timeout 14400"
	$(Q)$(MAKE) model
	$(Q)$(MAKE) mutants
	$(Q)$(MAKE) check-disks
	$(Q)$(MAKE) check-many
	$(Q)$(MAKE) faults
	$(Q)CUT=300 VIOLIN=$(BUILD)/faults/violin PYTHONDONTWRITEBYTECODE=1 $(RUN) --timeout 1800 federation "$(PYTHON) tests/net/test_federation.py"
	$(Q)BYTES=1e9 VIOLIN=$(BUILD)/faults/violin PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 7200 transfer "$(PYTHON) tests/net/test_transfer.py"
	$(Q)SIZE=300 VIOLIN=$(BUILD)/faults/violin PYTHONDONTWRITEBYTECODE=1 $(RUN) --show --timeout 1800 images "$(PYTHON) tests/net/test_images.py"
	$(Q)$(MAKE) fuzz SECONDS=600
	$(Q)for i in $$(seq $(XEN_RUNS)); do $(MAKE) check-xen check-xen-create check-xen-disks check-xen-domains || exit 1; done

# The paper's experiments under every system, on virtual time: text, build/scenarios/{index.html,report.json}.
.PHONY: scenarios
EXPERIMENTS := $(patsubst %,tests/sim/experiments/%.adapt,s1 s2 s3 overhead-8 overhead-4 overhead-2 overhead-1)
scenarios: need $(BUILD)/violin-sim
	$(Q)mkdir -p $(BUILD)/scenarios
	$(Q)$(BUILD)/violin-sim adapt $(EXPERIMENTS) --seeds $(or $(SEEDS),10) \
	    --json $(BUILD)/scenarios/report.json --html $(BUILD)/scenarios/index.html
	@echo $(BUILD)/scenarios/index.html $(BUILD)/scenarios/report.json

demo: deps
	$(Q)$(MAKE) all
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/net/demo.py

# Under sanitizers everything is built a second time, in build/asan.
ASAN := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
check-asan: need
	$(Q)$(MAKE) BUILD=$(BUILD)/asan CFLAGS="$(ASAN)" check-asan-run
	$(Q)$(MAKE) BUILD=$(BUILD)/tsan CFLAGS="-O1 -g -fsanitize=thread" check-tsan-run
check-asan-run: $(UNIT) $(SIMS)
	$(Q)ASAN_OPTIONS=detect_leaks=1 $(RUN) asan $(UNIT)
	$(Q)ASAN_OPTIONS=detect_leaks=1 $(RUN) --jobs 2 asan-sim $(SIMS)

# What has threads of its own, under TSan.
THREADED := $(patsubst %,$(BUILD)/tests/%,test_overlay_datapath test_overlay_datapath_paths \
    test_overlay_datapath_via test_overlay_isolation test_peer_journal test_xen_disk_host test_xen_simulated_disks)
check-tsan-run: $(THREADED) $(BUILD)/violin
	$(Q)VIOLIN=$(BUILD)/violin PYTHONDONTWRITEBYTECODE=1 $(RUN) tsan $(THREADED) "$(PYTHON) tests/net/test_threads.py"

# The program with named fault points, for the tests that kill it at one of them.
.PHONY: faults
faults: need
	$(Q)$(MAKE) BUILD=$(BUILD)/faults FAULTS=1 all

# ---- benchmarks: each prints a table and writes build/bench/NAME.json -----------------------------
BENCHES := $(patsubst tests/bench/bench_%.py,bench-%,$(wildcard tests/bench/bench_*.py))
.PHONY: bench $(BENCHES)
bench: $(BENCHES)
$(BENCHES): bench-%: need $(BUILD)/violin $(BUILD)/violin-sim
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/bench/bench_$*.py
bench-overlay: $(BUILD)/tests/overlay_probe
# Days of guests' CPU use, which the repository doesn't carry; without any a generated day is used.
TRACES ?= $(wildcard ../shared/traces/*.csv.gz)
bench-policy: export TRACES := $(TRACES)
$(BUILD)/tests/overlay_probe: $(BUILD)/obj/tests/bench/overlay_probe.o
	@echo '  LINK   $@'
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

# ---- fuzzing -----------------------------------------------------------------------------------
SECONDS_EACH = $(or $(SECONDS),30)
FUZZFLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined
$(BUILD)/fuzz/obj/%.o: %.c
	@echo '  CLANG  $<'
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(filter-out -Wconversion -Wpedantic,$(VCFLAGS)) -Wno-unused-command-line-argument \
	    $(FUZZFLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<
$(BUILD)/fuzz/libviolin.a: $(SRC:%.c=$(BUILD)/fuzz/obj/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^
$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(BUILD)/fuzz/libviolin.a
	@echo '  LINK   $@'
	$(Q)$(CLANG) $(FUZZFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) -lm
$(BUILD)/fuzz/fuzz_scenario: $(patsubst %,$(BUILD)/fuzz/obj/tests/sim/%.o,scenario words)
$(BUILD)/fuzz/fuzz_adapt: $(patsubst %,$(BUILD)/fuzz/obj/tests/sim/%.o,policy_scenario policy_world policy_cpu words)
$(BUILD)/fuzz/fuzz_trace: $(BUILD)/fuzz/obj/tests/sim/trace.o
fuzz: need $(FUZZERS)
	$(Q)$(PYTHON) tests/fuzz/run.py --results $(BUILD)/results --seconds $(SECONDS_EACH) $(FUZZERS)

# ---- care --------------------------------------------------------------------------------------
lint:
	$(Q)$(PYTHON) tests/lint.py
format:
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format -i

install: $(BUILD)/violin
	install -D -m 755 $(BUILD)/violin $(DESTDIR)$(PREFIX)/sbin/violin
	install -D -m 644 deploy/violin.conf.example $(DESTDIR)/etc/violin/violin.conf.example
	sed 's,@PREFIX@,$(PREFIX),g' deploy/violin.service | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/violin.service
	install -D -m 644 deploy/violin.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/violin.conf
	install -D -m 644 deploy/violin.modules $(DESTDIR)$(PREFIX)/lib/modules-load.d/violin.conf
	install -D -m 644 deploy/violin.8 $(DESTDIR)$(PREFIX)/share/man/man8/violin.8
	install -D -m 644 deploy/violin.bash-completion $(DESTDIR)$(PREFIX)/share/bash-completion/completions/violin
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/violin/README.md
	install -D -m 755 deploy/guest/violin-report $(DESTDIR)$(PREFIX)/share/violin/guest/violin-report
	install -m 644 deploy/guest/violin-report.service deploy/guest/violin-report.openrc deploy/guest/README.md $(DESTDIR)$(PREFIX)/share/violin/guest
	install -d $(DESTDIR)$(PREFIX)/share/violin/examples/cluster
	install -m 644 deploy/examples/web.env $(DESTDIR)$(PREFIX)/share/violin/examples
	install -m 755 deploy/examples/cluster/*.sh $(DESTDIR)$(PREFIX)/share/violin/examples/cluster
	install -m 644 deploy/examples/cluster/*.conf deploy/examples/cluster/*.cfg deploy/examples/cluster/README.md $(DESTDIR)$(PREFIX)/share/violin/examples/cluster

clean:
	rm -rf $(BUILD)

.SECONDARY:
-include $(shell find $(BUILD)/obj $(BUILD)/fuzz/obj -type f -name "*.d" 2>/dev/null)
