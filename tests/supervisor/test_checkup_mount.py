"""Each mount that does not keep what edgeml promises is named, and each one that does is let pass."""

import pytest

from edgeml.supervisor.checkup_mount import check_mount
from edgeml.supervisor.finding import Patient


@pytest.fixture
def found(tmp_path):
    def looked(kind, options="rw", mount="rw,relatime"):
        folder = tmp_path / "proc/self"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mountinfo").write_text(f"27 1 254:0 / / {mount} - {kind} /dev/x {options}\n")
        return list(check_mount(Patient(tmp_path / "store", tmp_path, 0.0)))

    return looked


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ext4", "rw,errors=remount-ro"),
        ("ext4", "rw,data=ordered,barrier=1"),
        ("ext3", "rw"),
        ("xfs", "rw,attr2,inode64"),
        ("btrfs", "rw,ssd,space_cache=v2"),
        ("f2fs", "rw,fsync_mode=strict"),
    ],
)
def test_sound(found, kind, options):
    (finding,) = found(kind, options)
    assert finding.level == "ok" and finding.found.startswith(kind)


@pytest.mark.parametrize(
    ("kind", "options", "level", "word"),
    [
        ("tmpfs", "rw,size=4k", "danger", "memory"),
        ("vfat", "rw", "danger", "half a record"),
        ("nfs4", "rw,vers=4.2", "danger", "network"),
        ("ext2", "rw", "danger", "no journal"),
        ("overlay", "rw,lowerdir=/l,upperdir=/u", "warning", "container"),
        ("overlay", "rw,lowerdir=/l,volatile", "danger", "every sync"),
        ("ext4", "rw,nobarrier", "danger", "flushes do not reach"),
        ("ext4", "rw,barrier=0", "danger", "flushes do not reach"),
        ("xfs", "rw,nobarrier", "danger", "flushes do not reach"),
        ("btrfs", "rw,nobarrier", "danger", "flushes do not reach"),
        ("f2fs", "rw,nobarrier,fsync_mode=strict", "danger", "flushes do not reach"),
        ("f2fs", "rw,fsync_mode=nobarrier", "danger", "flushes do not reach"),
        ("f2fs", "rw,fsync_mode=posix", "warning", "less strictly"),
        ("ext4", "rw,data=writeback", "warning", "old bytes"),
        ("ext4", "rw,noauto_da_alloc", "warning", "empty"),
        ("ext4", "rw,noload", "danger", "not replayed"),
        ("fuse.sshfs", "rw", "warning", "never tried"),
    ],
)
def test_unsound(found, kind, options, level, word):
    findings = found(kind, options)
    assert any(each.level == level and word in each.meaning for each in findings), findings
    assert all(each.remedy for each in findings)


@pytest.mark.parametrize(("options", "mount"), [("ro", "rw"), ("rw", "ro")])
def test_read_only(found, options, mount):
    (finding,) = found("ext4", options, mount)
    assert finding.level == "danger" and "read-only" in finding.found


def test_an_option_of_another_file_system_means_nothing(found):
    assert [each.level for each in found("xfs", "rw,data=writeback,volatile")] == ["ok"]
