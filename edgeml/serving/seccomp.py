"""A filter of system calls for a process that runs somebody's model: it can compute and read, and nothing else.

1. No new socket and no ring that could open one, no new program and no new process (threads are allowed).
2. Nothing on a disk is made, changed, renamed or removed: files are opened for reading only.
3. No other process is looked into, signalled or traced.

What is refused fails with EACCES, so that a library which only tries goes on. ``clone3`` and ``openat2`` hide their
arguments from filters; they fail with ENOSYS, whereupon the C library takes the older call.

The numbers are those of Linux's tables for x86-64 and aarch64; elsewhere there is no filter, and the caller is told.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1  # all threads at once

# Classic BPF: what to do, and the parts of struct seccomp_data that are looked at.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000

_CLONE_THREAD = 0x00010000
# Whatever is not plain reading.
_O_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# machine -> its number among the kernel's audit architectures, and that of the call that puts a filter on
_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ENTER = {"x86_64": 317, "aarch64": 277}
# On x86-64 the same calls have a second set of numbers (x32) from here.
_X32 = 0x40000000

_REFUSED = {
    "x86_64": {
        "socket": 41, "connect": 42, "bind": 49, "listen": 50, "io_uring_setup": 425,
        "execve": 59, "execveat": 322, "fork": 57, "vfork": 58,
        "creat": 85, "truncate": 76, "ftruncate": 77, "fallocate": 285, "rename": 82, "renameat": 264,
        "renameat2": 316, "unlink": 87, "unlinkat": 263, "rmdir": 84, "mkdir": 83, "mkdirat": 258, "link": 86,
        "linkat": 265, "symlink": 88, "symlinkat": 266, "mknod": 133, "mknodat": 259, "chmod": 90, "fchmod": 91,
        "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
        "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280, "setxattr": 188, "lsetxattr": 189,
        "fsetxattr": 190, "mount": 165, "umount2": 166, "unshare": 272, "setns": 308, "chroot": 161,
        "kill": 62, "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438, "pidfd_open": 434,
        "bpf": 321, "perf_event_open": 298, "keyctl": 250, "add_key": 248, "reboot": 169,
    },
    "aarch64": {
        "socket": 198, "connect": 203, "bind": 200, "listen": 201, "io_uring_setup": 425,
        "execve": 221, "execveat": 281,
        "truncate": 45, "ftruncate": 46, "fallocate": 47, "renameat": 38, "renameat2": 276, "unlinkat": 35,
        "mkdirat": 34, "linkat": 37, "symlinkat": 36, "mknodat": 33, "fchmod": 52, "fchmodat": 53, "fchmodat2": 452,
        "fchown": 55, "fchownat": 54, "utimensat": 88, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7,
        "mount": 40, "umount2": 39, "unshare": 97, "setns": 268, "chroot": 51,
        "kill": 129, "tkill": 130, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "pidfd_send_signal": 424,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_getfd": 438, "pidfd_open": 434,
        "bpf": 280, "perf_event_open": 241, "keyctl": 219, "add_key": 217, "reboot": 142,
    },
}  # fmt: skip
# Calls that exist only in a newer form.
_UNKNOWN = {"clone3": 435, "openat2": 437}
# Calls of which one argument decides: number, argument.
_OPENS = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
_CLONE = {"x86_64": 56, "aarch64": 220}
_TGKILL = {"x86_64": 234, "aarch64": 131}


def close_system_calls() -> bool:
    """Puts the filter on this process, for good.

    Returns:
        Whether it is on; False where the kernel or the machine has none.
    """
    machine = platform.machine()
    if os.name != "posix" or machine not in _ARCHES or struct.calcsize("P") != 8:
        return False
    system = ctypes.CDLL(None, use_errno=True)
    if system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    program = _program(machine, os.getpid())
    held = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
    entered = system.syscall(
        ctypes.c_long(_ENTER[machine]),
        ctypes.c_uint(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_uint(_SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.create_string_buffer(described, len(described)),
    )
    return bool(entered == 0)


def _program(machine: str, process: int) -> bytes:
    refuse, unknown = _ERRNO | errno.EACCES, _ERRNO | errno.ENOSYS
    steps = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _ARCHES[machine], 1, 0),
        _step(_RETURN, refuse),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, refuse)]
    for numbers, answer in ((_REFUSED[machine], refuse), (_UNKNOWN, unknown)):
        for number in numbers.values():
            steps += [_step(_EQUAL, number, 0, 1), _step(_RETURN, answer)]
    for number, argument in _OPENS[machine]:
        steps += _deciding(number, argument, [_step(_ANY_BIT, _O_CHANGES, 0, 1), _step(_RETURN, refuse)])
    steps += _deciding(_CLONE[machine], 0, [_step(_ANY_BIT, _CLONE_THREAD, 1, 0), _step(_RETURN, refuse)])
    # abort() signals its own process with it.
    steps += _deciding(_TGKILL[machine], 0, [_step(_EQUAL, process, 1, 0), _step(_RETURN, refuse)])
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _deciding(number: int, argument: int, test: list[bytes]) -> list[bytes]:
    """Asks the low half of an argument, of one call only, and loads the call's number again."""
    asked = [_step(_LOAD, _ARGUMENTS + 8 * argument), *test]
    return [_step(_EQUAL, number, 0, len(asked)), *asked, _step(_LOAD, _NUMBER)]


def _step(what: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", what, if_true, if_false, value)
