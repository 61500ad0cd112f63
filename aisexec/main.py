"""Start-up: command line, configuration, the steps that make a daemon, then the driver's loop."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn, Protocol

import gevent

from aisexec.blackbox import Blackbox
from aisexec.config import Effective, Loaded, Quorum, check_report, effective, explain, load, this_machine
from aisexec.config.keys import configuration_keys
from aisexec.daemon import DaemonError, Startup, go_to_background
from aisexec.driver import Driver
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.exit_codes import ExitCode
from aisexec.garbage import Garbage
from aisexec.lock import LockError, NodeLock
from aisexec.log import LogError, Logger
from aisexec.machine import LocalMachine
from aisexec.net.base import NetError, NetworkSettings, Security
from aisexec.net.interfaces import interface_addresses
from aisexec.net.transports import create_transport
from aisexec.realtime import Scheduling, apply_scheduling, lock_memory, parse_priority, raise_open_files
from aisexec.reload import InForce, Reloader
from aisexec.sampling import Sampler
from aisexec.service_context import Buffers
from aisexec.services.votequorum_state import DeviceOptions, QuorumOptions, TieBreaker
from aisexec.state import ExpectedVotesFile, RingIdFile, StateError, enter_state_directory
from aisexec.systemd import Notifier
from aisexec.totem.types import LOG_ERR, LOG_NOTICE, LOG_WARNING
from ipc.sweep import sweep

DESCRIPTION = """\
Cluster executive: orders messages and membership across the nodes of a cluster with the Totem
single-ring protocol and serves local programs, wire and IPC compatible with corosync 3.1."""

EPILOG = """\
Environment: COROSYNC_MAIN_CONFIG_FILE names the configuration file where -c does not;
COROSYNC_TOTEM_AUTHKEY_FILE the key file where the configuration does not.
Signals: SIGTERM, SIGINT and SIGQUIT leave the ring and end; SIGHUP opens the log file anew;
SIGUSR2 logs all counters and keeps the flight recording (corosync-blackbox); SIGUSR1 turns profiling on
and off (aisexec-bench --profile).
Exit status: 0 ended as asked; 8 configuration wrong; 15 ring cannot be started; 16 state directory
missing; 18 already running; others as corosync's."""


class Parser(argparse.ArgumentParser):
    """Ends with corosync's status on a wrong command line."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.FAILURE, f"{self.prog}: {message}\n")


def build_parser() -> Parser:
    """The options of corosync(8), and --explain."""
    parser = Parser(
        "aisexec",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", metavar="FILE", dest="config", help="configuration file")
    parser.add_argument("-f", dest="foreground", action="store_true", help="stay in the foreground")
    parser.add_argument("-t", dest="test", action="store_true", help="check the configuration and exit")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print the timeouts in force, where each comes from and what they mean, and exit",
    )
    add = parser.add_argument
    add("-p", dest="no_realtime", action="store_true", help="do not set real-time scheduling")
    add("-r", dest="realtime", action="store_true", help="set round robin real-time scheduling")
    add("-P", metavar="NUM", dest="priority", help="nice value -20..19, max or min; implies -p")
    add("-v", dest="version", action="store_true", help="print the version and exit")
    return parser


def package_version() -> str:
    """Our version, as the package says."""
    try:
        return version("aisexec")
    except PackageNotFoundError:
        return "unknown (not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """The command `aisexec`."""
    arguments = build_parser().parse_args(argv)
    if arguments.version:
        print(f"aisexec, version '{package_version()}'. Speaks the protocols of corosync 3.1.")
        return ExitCode.OK
    loaded = load(arguments.config)
    config = effective(loaded, this_machine(interface_addresses()))
    if arguments.test or config is None:
        print(check_report(loaded), end="", file=sys.stdout if config is not None else sys.stderr)
        return ExitCode.OK if config is not None else loaded.exit_code
    if arguments.explain:
        print(explain(config), end="")
        return ExitCode.OK
    try:
        scheduling = wanted_scheduling(arguments, config)
    except ValueError as error:
        print(f"aisexec: -P {arguments.priority}: {error}", file=sys.stderr)
        return ExitCode.FAILURE
    return run(loaded, config, scheduling, foreground=arguments.foreground)


def wanted_scheduling(arguments: argparse.Namespace, config: Effective) -> Scheduling:
    """The command line wins over section system{}; raises ValueError."""
    system = config.system
    nice = system.priority
    realtime = system.sched_rr
    if arguments.priority is not None:
        nice = parse_priority(arguments.priority)
        realtime = False
    if arguments.no_realtime:
        realtime = False
    if arguments.realtime:
        realtime = True
    return Scheduling(realtime=realtime, nice=nice, move_to_root_cgroup=system.move_to_root_cgroup)


def run(loaded: Loaded, config: Effective, scheduling: Scheduling, *, foreground: bool) -> int:
    """Become the executive of this node until told to end."""
    startup = Startup()
    try:
        if not foreground:
            startup = go_to_background()
        return _run(loaded, config, scheduling, startup)
    except (DaemonError, LogError) as error:
        print(f"aisexec: {error.text}", file=sys.stderr, flush=True)
        startup.failed(error.exit_code)
        return error.exit_code


def _run(loaded: Loaded, config: Effective, scheduling: Scheduling, startup: Startup) -> int:
    logger = Logger(config.logging)

    def log_main(priority: int, text: str) -> None:
        logger.log("MAIN", priority, text)

    def log_totem(priority: int, text: str) -> None:
        logger.log("TOTEM", priority, text)

    log_main(LOG_NOTICE, f"aisexec {package_version()} starting up as node {config.network.nodeid}")
    for problem in loaded.warnings:
        log_main(LOG_WARNING, str(problem))
    in_force = InForce(loaded, config, os.path.abspath(loaded.path))
    try:
        with Blackbox(config.logging, logger) as blackbox:
            return _serve(in_force, scheduling, startup, logger, log_main, log_totem, blackbox)
    except (DaemonError, LockError, NetError, StateError) as error:
        log_main(LOG_ERR, error.text)
        log_main(LOG_ERR, f"aisexec exiting with status {error.exit_code}")
        startup.failed(error.exit_code)
        return error.exit_code
    finally:
        logger.close()


Log = Callable[[int, str], None]


def _serve(
    in_force: InForce,
    scheduling: Scheduling,
    startup: Startup,
    logger: Logger,
    log_main: Log,
    log_totem: Log,
    blackbox: Blackbox,
) -> int:
    config = in_force.config
    state_dir = enter_state_directory(config.system.state_dir)
    lock = NodeLock(state_dir)
    lock.acquire()
    blackbox.open(state_dir)
    raise_open_files(log_main)
    sweep(log_main)
    ring_id_file = RingIdFile(state_dir, config.network.nodeid)
    ring_seq = ring_id_file.load()
    expected_votes_file = ExpectedVotesFile(state_dir)
    tracked_votes = expected_votes_file.load() if config.quorum.expected_votes_tracking else 0
    keys = configuration_keys(in_force.loaded, config)
    options = replace(executive_options(config, tracked_votes), keys=keys)
    transport = create_transport(network_settings(config), log_totem)

    def make_executive(buffers: Buffers) -> Executive:
        return Executive(config.totem, config.network.nodeid, ring_seq, options, buffers, machine)

    machine = LocalMachine()
    notifier = Notifier()
    garbage = Garbage()
    driver = Driver(
        make_executive,
        transport,
        ring_id_file,
        logger.log,
        on_membership=notifier.status,
        sysv=config.system.ipc_semaphores == "sysv",
        garbage=garbage,
        configuration=Reloader(in_force, executive_options, transport, logger),
        reopen_logs=logger.reopen,
        store_expected_votes=expected_votes_file.store,
    )
    apply_scheduling(scheduling, log_main)
    lock_memory(log_main)
    logger.start_thread()
    blackbox.watch(driver.map, lambda: _log_counters(driver, logger))
    watchers = _watch_signals(driver, logger, blackbox)
    try:
        driver.start()
    except OSError as error:
        raise NetError(error.strerror or str(error), ExitCode.SERVICE_ENGINE_INIT) from None
    startup.succeeded()
    notifier.ready(f"node {config.network.nodeid}, looking for the others")
    garbage.start()
    driver.finished.wait()
    notifier.stopping("left the ring")
    for watcher in watchers:
        watcher.stop()
    if driver.exit_code:
        blackbox.dump()
    else:
        machine.close_watchdog(log_main)
    blackbox.close()
    lock.release()
    log_main(LOG_NOTICE, "aisexec exiting normally" if not driver.exit_code else "aisexec exiting")
    return driver.exit_code


class SignalWatcher(Protocol):
    """A gevent loop watcher."""

    def start(self, callback: Callable[..., object], *args: object) -> None: ...
    def stop(self) -> None: ...


def _watch_signals(driver: Driver, logger: Logger, blackbox: Blackbox) -> list[SignalWatcher]:
    def stop(number: signal.Signals) -> None:
        driver.shut_down(f"Node was shut down by a signal ({number.name})")

    loop = gevent.get_hub().loop
    watchers: list[SignalWatcher] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        watchers.append(loop.signal(number))
        watchers[-1].start(stop, number)
    watchers.append(loop.signal(signal.SIGHUP))
    watchers[-1].start(logger.reopen)
    watchers.append(loop.signal(signal.SIGUSR2))
    watchers[-1].start(_dump_state, driver, logger, blackbox)
    sampler = Sampler(lambda text: logger.log("MAIN", LOG_NOTICE, text))
    watchers.append(loop.signal(signal.SIGUSR1))
    watchers[-1].start(sampler.toggle)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return watchers


def _dump_state(driver: Driver, logger: Logger, blackbox: Blackbox) -> None:
    _log_counters(driver, logger)
    blackbox.dump()


def _log_counters(driver: Driver, logger: Logger) -> None:
    """corosync dumps its state at this signal, too."""
    lost = (("log.lost." + name, number) for name, number in logger.lost.items())
    for key, number in (*driver.counters(), *lost):
        if number:
            logger.log("MAIN", LOG_NOTICE, f"{key} = {number}")
    logger.log("MAIN", LOG_NOTICE, "These are all counters that are not 0.")


def network_settings(config: Effective) -> NetworkSettings:
    """What the transport needs."""
    network, security = config.network, config.network.security
    return NetworkSettings(
        transport=network.transport,
        nodeid=network.nodeid,
        local_address=network.local_address,
        port=network.port,
        ttl=network.ttl,
        mcast_address=network.mcast_address,
        broadcast=network.broadcast,
        members=network.members,
        block_unlisted_ips=network.block_unlisted_ips,
        interface_name=network.interface_name,
        interface_index=network.interface_index,
        security=None
        if security is None
        else Security(security.algorithm, security.key, security.key_source, security.model),
    )


def executive_options(config: Effective, tracked_votes: int = 0) -> ExecutiveOptions:
    """What the services need."""
    return ExecutiveOptions(
        votequorum=config.quorum.provider == "corosync_votequorum",
        quorum=quorum_options(config.quorum, tracked_votes),
        config_version=config.config_version,
        uids=config.uids,
        gids=config.gids,
        addresses=config.network.members,
    )


def quorum_options(quorum: Quorum, tracked_votes: int = 0) -> QuorumOptions:
    """What votequorum needs; tracked_votes: the most that was ever expected."""
    device = quorum.device
    return QuorumOptions(
        votes=quorum.votes,
        expected_votes=quorum.expected_votes,
        two_node=quorum.two_node,
        wait_for_all=quorum.wait_for_all,
        wait_for_all_follows_two_node=quorum.wait_for_all_follows_two_node,
        last_man_standing=quorum.last_man_standing,
        last_man_standing_window=quorum.last_man_standing_window,
        tie_breaker=TieBreaker[quorum.auto_tie_breaker.upper()],
        configured_tie_breaker=TieBreaker[quorum.configured_tie_breaker.upper()],
        tie_breaker_nodes=quorum.auto_tie_breaker_nodes,
        allow_downscale=quorum.allow_downscale,
        expected_votes_tracking=quorum.expected_votes_tracking,
        tracked_votes=tracked_votes,
        device=None if device is None else DeviceOptions(device.votes, device.timeout, device.sync_timeout),
    )


if __name__ == "__main__":
    sys.exit(main())
