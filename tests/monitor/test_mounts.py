"""Which mount a path lies on, read from mountinfo files as kernels write them."""

from pathlib import Path

import pytest

from edgeml.monitor.mounts import mount_of, mounts

LINES = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mmcblk0p2 rw,errors=remount-ro
30 27 8:1 / /var/lib rw,noatime shared:9 master:2 - f2fs /dev/sda1 rw,fsync_mode=posix
31 30 8:2 /sub /var/lib/edgeml ro,noatime - ext4 /dev/sda2 rw
33 27 0:40 / /media/USB\040STICK rw - vfat /dev/sdb1 rw,uid=1000
34 33 0:41 / /media/USB\040STICK rw - tmpfs tmpfs rw,size=4k
35 27 0:42 / /srv rw - ext4 /dev/sdc1 ro,data=ordered
rubbish
36 27 0:43
""".lstrip()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "proc/self"
    folder.mkdir(parents=True)
    (folder / "mountinfo").write_text(LINES)
    return tmp_path


def test_lines_that_make_no_sense_are_passed_over(root):
    assert len(mounts(root)) == 7


def test_the_deepest_mount_counts_and_the_last_of_several(root):
    assert mount_of(Path("/etc"), root).source == "/dev/mmcblk0p2"
    assert mount_of(Path("/var/library"), root).kind == "ext4"
    assert mount_of(Path("/var/lib/other"), root).options["fsync_mode"] == "posix"
    assert mount_of(Path("/var/lib/edgeml/blobs"), root).source == "/dev/sda2"
    assert mount_of(Path("/media/USB STICK/x"), root).kind == "tmpfs"


def test_read_only_is_the_mounts_or_the_file_systems(root):
    assert mount_of(Path("/var/lib/edgeml"), root).read_only
    assert mount_of(Path("/srv"), root).read_only
    assert not mount_of(Path("/"), root).read_only


def test_a_system_that_does_not_say(tmp_path):
    with pytest.raises(OSError):
        mount_of(Path("/"), tmp_path)
    folder = tmp_path / "proc/self"
    folder.mkdir(parents=True)
    (folder / "mountinfo").write_text("rubbish\n")
    with pytest.raises(OSError, match="names no mount over /x"):
        mount_of(Path("/x"), tmp_path)


def test_this_system():
    assert mount_of(Path("/proc")).kind == "proc"
