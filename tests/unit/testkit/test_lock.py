"""The check of the lock finds what does not follow from the project."""

from packaging.requirements import Requirement

from testkit.lock import faults, locked_versions, unhashed

LOCK = """\
aiohttp==3.14.5 \\
    --hash=sha256:aa
    # via lictor
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:bb
yarl==1.0
    # via aiohttp
"""


def test_locked_versions_leaves_out_other_platforms() -> None:
    """An entry whose marker does not hold here is not installed here."""
    assert locked_versions(LOCK) == {"aiohttp": "3.14.5", "yarl": "1.0"}


def test_unhashed_names_entries_without_a_hash() -> None:
    """Without a hash an entry pins nothing."""
    assert unhashed(LOCK) == ["yarl"]


def test_faults_are_none_where_the_lock_follows() -> None:
    """Everything required is there, and nothing else."""
    assert list(faults([Requirement("iniconfig>=2")], {"iniconfig": "2.3.1"}, name="x")) == []


def test_faults_name_what_is_missing_wrong_or_left_over() -> None:
    """A missing, an outdated and an unneeded package are three faults."""
    roots = [Requirement("iniconfig>=99"), Requirement("absent>=1")]

    found = list(faults(roots, {"iniconfig": "2.3.1", "six": "1.17.0"}, name="x"))

    assert found == [
        "x lacks absent>=1",
        "x holds iniconfig 2.3.1; expected iniconfig>=99",
        "x holds six, which nothing requires",
    ]


def test_faults_follow_extras_and_what_they_require() -> None:
    """What a locked package needs is required too: pytest brings pluggy and iniconfig."""
    found = list(faults([Requirement("pytest")], {"pytest": "9.2.0"}, name="x"))

    assert [fault for fault in found if fault.startswith("x lacks pluggy")]
    assert not [fault for fault in found if "argcomplete" in fault]  # of its extra `dev`
