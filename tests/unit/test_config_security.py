"""What secauth, crypto_* and the key file come to; who may read the key."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aisexec.config import Machine, explain
from aisexec.config.keyfile import KeyFileError, read_key
from aisexec.config.limits import KEY_SIZE_MAX, KEY_SIZE_MIN
from aisexec.config.machine import this_machine
from aisexec.config.model import Security
from aisexec.exit_codes import ExitCode
from aisexec.main import main
from tests.unit.config_support import OPEN, all_messages, configure, derived, machine, messages, nodelist

KEY = bytes(range(256))


def keyed(authkey_file: str | None = None) -> Machine:
    """A machine where every file is a key: its own name, many times."""
    return replace(machine(), read_key=lambda path: path.encode() * 20, authkey_file=authkey_file)


def security(tmp_path: Path, totem: str, on: Machine | None = None) -> Security | None:
    return derived(configure(tmp_path, f"transport: udpu\n{totem}"), on or keyed()).network.security


@pytest.mark.parametrize(
    ("totem", "algorithm"),
    [
        ("secauth: on", "aes256"),
        ("secauth: on\ncrypto_cipher: aes128", "aes128"),
        ("secauth: on\ncrypto_cipher: chacha20", "chacha20"),
        ("secauth: on\ncrypto_cipher: none", "sha256"),
        ("secauth: on\ncrypto_cipher: none\ncrypto_hash: sha512", "sha512"),
        ("crypto_cipher: aes192\ncrypto_hash: sha1", "aes192"),
        ("crypto_hash: md5", "md5"),
        ("secauth: off", None),
        ("secauth: on\ncrypto_cipher: none\ncrypto_hash: none", None),
        ("", None),
    ],
)
def test_what_seals_frames(tmp_path: Path, totem: str, algorithm: str | None) -> None:
    found = security(tmp_path, totem)
    assert (found.algorithm if found else None) == algorithm


@pytest.mark.parametrize(
    ("totem", "environment", "path"),
    [
        ("", None, "/etc/corosync/authkey"),
        ("", "/env/authkey", "/env/authkey"),
        ("keyfile: /conf/authkey", "/env/authkey", "/conf/authkey"),
        (f"keyfile: /conf/authkey\nkey: {'k' * 128}", None, "/conf/authkey"),
    ],
)
def test_where_the_key_is_from(tmp_path: Path, totem: str, environment: str | None, path: str) -> None:
    found = security(tmp_path, f"secauth: on\n{totem}", keyed(environment))
    assert found is not None
    assert (found.key, found.key_source) == (path.encode() * 20, path)
    assert found.key.hex() not in repr(found)
    assert str(found.key) not in repr(found)


def test_the_environment_names_the_key_file() -> None:
    for name in ("COROSYNC_TOTEM_AUTHKEY_FILE", "OPENAIS_TOTEM_AUTHKEY_FILE"):
        assert this_machine((), {name: "/env/authkey"}).authkey_file == "/env/authkey"
    assert this_machine((), {}).authkey_file is None
    assert this_machine((), {}).crypto_models == {"openssl", "pycryptodome"}


def test_a_key_in_the_configuration(tmp_path: Path) -> None:
    found = security(tmp_path, f"secauth: on\nkey: {'k' * 130}", keyed("/env/authkey"))
    assert found is not None
    assert found.key == b"k" * 130
    assert found.key_source.endswith("corosync.conf:5")
    loaded = configure(tmp_path, f"transport: udpu\nsecauth: on\nkey: {'k' * 130}")
    assert messages(loaded)[0].startswith("5: warning: the key is in the configuration")
    loaded = configure(tmp_path, f"transport: udpu\nsecauth: on\nkey: {'k' * 127}")
    assert messages(loaded)[0].startswith("5: key of 127 bytes; it must have 128 to 4096")


@pytest.mark.parametrize(
    ("totem", "expected"),
    [
        ("secauth: on\nkeyfile: /nowhere", "5: could not open key file /nowhere"),
        ("secauth: on", "4: could not open key file /etc/corosync/authkey"),
        ("token: 2000\ncrypto_hash: sha1", "5: could not open key file /etc/corosync/authkey"),
        ("crypto_cipher: aes256\ncrypto_hash: none", "4: crypto_cipher requires crypto_hash"),
        ("secauth: on\ncrypto_hash: none", "1: crypto_cipher requires crypto_hash"),
        ("crypto_cipher: aes512", "4: totem.crypto_cipher: 'aes512' is not known here"),
        ("crypto_model: rot13", "4: totem.crypto_model: 'rot13' is not known here"),
    ],
)
def test_trouble(tmp_path: Path, totem: str, expected: str) -> None:
    loaded = configure(tmp_path, f"transport: udpu\n{totem}")
    found = messages(loaded)
    assert any(message.startswith(expected) for message in found), found
    assert loaded.exit_code == ExitCode.MAIN_CONFIG_READ


def test_models(tmp_path: Path) -> None:
    for model in ("openssl", "pycryptodome"):
        found = security(tmp_path, f"secauth: on\ncrypto_model: {model}")
        assert found is not None
        assert found.model == model
    for model in ("nss", "gcrypt"):
        found = security(tmp_path, f"secauth: on\ncrypto_model: {model}")
        assert found is not None
        assert found.model is None
        loaded = configure(tmp_path, f"transport: udpu\nsecauth: on\ncrypto_model: {model}")
        assert messages(loaded, keyed()) == [
            f"5: warning: crypto_model {model} is a library of knet;"
            " the fastest of openssl and pycryptodome is used"
        ]


def test_a_model_that_is_not_installed(tmp_path: Path) -> None:
    on = replace(keyed(), crypto_models=frozenset({"pycryptodome"}))
    loaded = configure(tmp_path, "transport: udpu\nsecauth: on\ncrypto_model: openssl")
    assert messages(loaded, on)[0].startswith(
        "5: crypto_model openssl: the Python package cryptography is not installed; install it"
    )


def test_frames_get_smaller_by_what_sealing_adds(tmp_path: Path) -> None:
    plain = derived(configure(tmp_path, "transport: udpu"))
    sealed = derived(configure(tmp_path, "transport: udpu\nsecauth: on"), keyed())
    assert (plain.totem.net_mtu, sealed.totem.net_mtu) == (1410, 1357)
    smallest = derived(configure(tmp_path, "transport: udpu\nsecauth: on\nnetmtu: 256"), keyed())
    assert smallest.totem.net_mtu > 100


def test_a_ring_open_to_anybody_is_a_warning(tmp_path: Path) -> None:
    for transport in ("udp\ncluster_name: x", "udpu"):
        (found,) = all_messages(configure(tmp_path, f"transport: {transport}"))
        assert found.startswith("3: warning: frames are neither encrypted nor authenticated")
        assert "write 'secauth: on' on all nodes" in found
        assert "corosync-keygen" in found
    for totem in ("secauth: on", "crypto_hash: sha1"):
        assert all_messages(configure(tmp_path, f"transport: udpu\n{totem}"), keyed()) == []


def test_nobody_can_reach_a_ring_on_the_loopback_interface(tmp_path: Path) -> None:
    rest = nodelist("nodeid:1 ring0_addr:127.0.0.1", "nodeid:2 ring0_addr:127.0.0.2")
    assert not any(OPEN in message for message in all_messages(configure(tmp_path, rest=rest)))


def test_explain_says_it(tmp_path: Path) -> None:
    assert "Security: none, anybody on the network" in explain(derived(configure(tmp_path)))
    config = derived(configure(tmp_path, "transport: udpu\nsecauth: on"), keyed())
    text = explain(config)
    assert "Security: aes256, key from /etc/corosync/authkey" in text
    assert "messages of 1357 bytes" in text


def test_the_check_of_a_configuration_looks_at_the_key(
    tmp_path: Path, keyfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `aisexec -t` does on a real machine."""
    rest = nodelist("nodeid:1 ring0_addr:127.0.0.1") + f"system {{\nstate_dir: {tmp_path}\n}}\n"
    path = configure(tmp_path, f"transport: udpu\nsecauth: on\nkeyfile: {keyfile}", rest=rest).path
    assert main(["-t", "-c", path]) == 0
    assert capsys.readouterr().out == f"{path}: can be used\n"
    keyfile.chmod(0o440)
    assert main(["-t", "-c", path]) == ExitCode.MAIN_CONFIG_READ
    assert f"{path}:5: key file {keyfile} is open to others (mode 0440); 'chmod" in capsys.readouterr().err


# The key file.


@pytest.fixture
def keyfile(tmp_path: Path) -> Path:
    path = tmp_path / "authkey"
    path.write_bytes(KEY)
    path.chmod(0o400)
    return path


def refused(path: Path) -> str:
    with pytest.raises(KeyFileError) as caught:
        read_key(str(path))
    assert str(path) in caught.value.what
    return f"{caught.value.what}; {caught.value.write}"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_key_of_ones_own(keyfile: Path, mode: int) -> None:
    keyfile.chmod(mode)
    assert read_key(str(keyfile)) == KEY


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o420, 0o402, 0o777, 0o410])
def test_a_key_open_to_others(keyfile: Path, mode: int) -> None:
    keyfile.chmod(mode)
    text = refused(keyfile)
    assert f"open to others (mode {mode:04o})" in text
    assert f"'chmod 0400 {keyfile}'" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_key_of_somebody_else(keyfile: Path) -> None:
    os.chown(keyfile, 65534, 0)
    assert "belongs to user 65534, who could change it" in refused(keyfile)


@pytest.mark.parametrize("size", [KEY_SIZE_MIN, 1000, KEY_SIZE_MAX])
def test_sizes(keyfile: Path, size: int) -> None:
    keyfile.chmod(0o600)
    keyfile.write_bytes(bytes(size))
    assert len(read_key(str(keyfile))) == size


def test_too_short_and_too_long(keyfile: Path) -> None:
    keyfile.chmod(0o600)
    keyfile.write_bytes(bytes(KEY_SIZE_MIN - 1))
    assert "could only read 1016 bits of minimum 1024 bits" in refused(keyfile)
    keyfile.write_bytes(b"")
    assert "could only read 0 bits" in refused(keyfile)
    keyfile.write_bytes(bytes(KEY_SIZE_MAX + 1))
    assert "longer than 4096 bytes" in refused(keyfile)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file or directory; make one with 'corosync-keygen -k"),
        (lambda path: path.mkdir(), "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
    ],
)
def test_no_file(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    path = tmp_path / "authkey"
    make(path)
    assert says in refused(path)
