"""The decisions of restarts: which failures, how often, after which pause; and how they are told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._restarts.cause import GUARDIAN, HOST, START, Cause, digest, raised_at
from procession._restarts.conditions import read
from procession._restarts.options import read_policy, seconds
from procession._restarts.policy import Again, Budget, Enough, RestartPolicy, decide, pause
from procession._restarts.words import again_line, duration, enough_line, policy_lines
from procession.errors import UsageError

EXIT_3 = Cause(exitcode=3, words="rank 1 failed (exit code 3)")
KILLED = Cause(exitcode=-9, words="rank 1 died of SIGKILL")
OOM = Cause(exitcode=-9, oom=True)
SHELL = Cause(exitcode=137)
LEFT = Cause(
    exitcode=75, asked=True, words="rank 0 left (exit code 75) after the stop file was made"
)
LOST = Cause(HOST, words="lost gpu3")
NOT_STARTED = Cause(START, 71)
RAISED = Cause(
    exception="torch.OutOfMemoryError",
    raised_at="train.py:37 in step",
    frames="ab",
    words="rank 2 raised it",
)
ELSEWHERE = RAISED._replace(frames="cd")


@pytest.mark.parametrize(
    ("text", "cause", "before", "expected"),
    [
        ("3", EXIT_3, None, True),
        ("4", EXIT_3, None, False),
        ("1-5", EXIT_3, None, True),
        ("4-5", EXIT_3, None, False),
        ("4-5,3", EXIT_3, None, True),
        ("137", KILLED, None, True),  # the status that the run would end with
        ("137", SHELL, None, True),
        ("SIGKILL", KILLED, None, True),
        ("SIGKILL", SHELL, None, True),  # a shell whose command was killed
        ("SIGTERM", KILLED, None, False),
        ("signal", KILLED, None, True),
        ("signal", EXIT_3, None, False),
        ("signal", Cause(exitcode=255), None, False),  # exit(-1)
        ("oom", OOM, None, True),
        ("oom", KILLED, None, False),
        ("exception", RAISED, None, True),
        ("exception", EXIT_3, None, False),
        ("exception:OutOfMemoryError", RAISED, None, True),
        ("exception:torch.OutOfMemoryError", RAISED, None, True),
        ("exception:MemoryError", RAISED, None, False),
        ("same-traceback", RAISED, RAISED, True),
        ("same-traceback", RAISED, ELSEWHERE, False),
        ("same-traceback", RAISED, None, False),
        ("same-traceback", EXIT_3, EXIT_3, False),  # without a traceback nothing is known
        ("lost-host", LOST, None, True),
        ("lost-host", EXIT_3, None, False),
        ("start", NOT_STARTED, None, True),
        ("71", NOT_STARTED, None, True),
        ("71", Cause(GUARDIAN, 71), None, True),
    ],
)
def test_a_class_of_failures(text: str, cause: Cause, before: Cause | None, expected: bool) -> None:
    conditions = read(text, "--restart-on")
    assert any(each.matches(cause, before) for each in conditions) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "0 is no exit status of a failure"),
        ("5-3", "5-3 is no exit status"),
        ("256", "256 is no exit status"),
        ("-9", "-9 is no such class of failures"),
        ("SIGKIL", "Did you mean SIGKILL?"),
        ("KILL", "Did you mean SIGKILL?"),
        ("sigkill", "Did you mean SIGKILL?"),
        ("oops", "Give exit statuses (75, 64-78), signals (SIGKILL), signal, oom, exception,"),
        ("exception:", "exception: is no such class"),
        ("3,signals", "Did you mean signal?"),
    ],
)
def test_what_is_no_class_of_failures(text: str, said: str) -> None:
    from procession.cli.words import suggestion

    with pytest.raises(UsageError) as caught:
        read(text, "--no-restart-on", suggestion)
    assert str(caught.value).startswith(f"--no-restart-on {text}: ")
    assert said in str(caught.value)


def policy(
    restart_on: str = "", no_restart_on: str = "", backoff: str = "", refill: str = ""
) -> RestartPolicy:
    return read_policy(restart_on, no_restart_on, backoff, refill)


@pytest.mark.parametrize(
    ("rules", "budget", "cause", "uptime", "expected"),
    [
        (policy(), Budget(0), EXIT_3, 0, Again(Budget(1, EXIT_3))),
        (policy(), Budget(1), KILLED, 0, Again(Budget(2, KILLED))),
        (policy(), Budget(2), KILLED, 0, Enough(spent=True)),
        (policy(), Budget(0), LEFT, 0, Enough()),
        (policy(restart_on="75"), Budget(0), LEFT, 0, Enough()),  # it was asked to
        (policy(), Budget(0), LOST, 0, Again(Budget(1, LOST))),
        (policy(), Budget(0), NOT_STARTED, 0, Enough("what cannot be started is not tried again")),
        (policy(restart_on="start"), Budget(0), NOT_STARTED, 0, Again(Budget(1, NOT_STARTED))),
        (
            policy(restart_on="signal,75"),
            Budget(0),
            EXIT_3,
            0,
            Enough("not among --restart-on signal,75"),
        ),
        (policy(restart_on="signal"), Budget(0), KILLED, 0, Again(Budget(1, KILLED))),
        (policy(no_restart_on="3"), Budget(0), EXIT_3, 0, Enough("--no-restart-on 3")),
        (
            policy(restart_on="signal", no_restart_on="oom"),
            *(Budget(0), OOM, 0, Enough("--no-restart-on oom")),
        ),
        (policy(no_restart_on="same-traceback"), Budget(0), RAISED, 0, Again(Budget(1, RAISED))),
        (
            policy(no_restart_on="same-traceback"),
            *(
                Budget(1, RAISED),
                RAISED,
                0,
                Enough("--no-restart-on same-traceback (train.py:37 in step)"),
            ),
        ),
        (policy(refill="30m"), Budget(2), EXIT_3, 1800, Again(Budget(1, EXIT_3), worked=1800)),
        (policy(refill="30m"), Budget(2), EXIT_3, 1799, Enough(spent=True)),
        (policy(refill="30m"), Budget(0), EXIT_3, 1800, Again(Budget(1, EXIT_3))),
        (policy(no_restart_on="3"), Budget(2), EXIT_3, 0, Enough(spent=True)),
    ],
)
def test_what_follows(
    rules: RestartPolicy, budget: Budget, cause: Cause, uptime: float, expected: object
) -> None:
    assert decide(rules, 2, budget, cause, uptime) == expected


@pytest.mark.parametrize(
    ("backoff", "spent", "most"),
    [
        ("1s:60s", 0, 1),
        ("1s:60s", 1, 2),
        ("1s:60s", 5, 32),
        ("1s:60s", 6, 60),
        ("1s:60s", 10**6, 60),
        ("5", 9, 5),
    ],
)
def test_a_pause(backoff: str, spent: int, most: float) -> None:
    found = {pause(policy(backoff=backoff), spent, str(seed)) for seed in range(50)}
    assert len(found) > 40
    assert all(0.75 * most <= each <= most for each in found)
    assert max(found) > 0.95 * most


@pytest.mark.parametrize("text", ["", "x", "5:1", "1s:", ":5s", "-1", "1s:2s:3s", "0:5"])
def test_what_is_no_pause(text: str) -> None:
    if not text:
        assert pause(policy(), 3) == 0
        return
    with pytest.raises(UsageError, match=r"--restart-backoff .*such as 1s:60s"):
        policy(backoff=text)


@pytest.mark.parametrize("text", ["0", "x", "30 fortnights"])
def test_what_is_no_refill(text: str) -> None:
    with pytest.raises(UsageError, match=r"--restart-refill .*such as 30m"):
        policy(refill=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("2m", 120),
        ("2min", 120),
        ("1h", 3600),
        ("1d", 86400),
        ("s", None),
    ],
)
def test_times(text: str, expected: float | None) -> None:
    assert seconds(text) == expected


causes = st.sampled_from([EXIT_3, KILLED, OOM, LEFT, LOST, NOT_STARTED, RAISED, ELSEWHERE])
failures = st.lists(st.tuples(causes, st.floats(0, 100)), max_size=60)


@given(failures=failures, most=st.integers(0, 5), refill=st.sampled_from([10.0, 50.0, math.inf]))
def test_the_budget_is_never_exceeded(
    failures: list[tuple[Cause, float]], most: int, refill: float
) -> None:
    """Between two refills there are no more restarts than there may be, and none is refused early."""
    rules, budget, since = RestartPolicy(refill=refill), Budget(), 0
    for cause, uptime in failures:
        decision = decide(rules, most, budget, cause, uptime)
        since = 0 if uptime >= refill else since
        if isinstance(decision, Enough):
            assert since >= most or cause in (LEFT, NOT_STARTED)
            break
        since += 1
        assert since <= most
        assert decision.budget == Budget(since, cause)
        budget = decision.budget


@given(
    failures=failures,
    restart_on=st.sampled_from(["", "signal", "3,exception"]),
    no=st.sampled_from(["", "oom", "1-9"]),
)
def test_what_may_not_be_restarted_is_not(
    failures: list[tuple[Cause, float]], restart_on: str, no: str
) -> None:
    rules = policy(restart_on=restart_on, no_restart_on=no)
    before = None
    for cause, _ in failures:
        if isinstance(decide(rules, 9, Budget(0, before), cause), Again):
            assert not any(each.matches(cause, before) for each in rules.no_restart_on)
            assert not restart_on or any(each.matches(cause, before) for each in rules.restart_on)
        before = cause


@pytest.mark.parametrize(
    ("decision", "line"),
    [
        (Again(Budget(1, KILLED)), "attempt 2 of 4: rank 1 died of SIGKILL; restarting"),
        (
            Again(Budget(3, KILLED), 1.94),
            "attempt 4 of 4: rank 1 died of SIGKILL; restarting in 1.9 s",
        ),
        (
            Again(Budget(1, KILLED), 30.2, 2400),
            "attempt 2 of 4 (counted anew after 40 min): rank 1 died of SIGKILL; restarting in 30 s",
        ),
    ],
)
def test_what_is_said_of_another_attempt(decision: Again, line: str) -> None:
    assert again_line(decision, 3) == line


@pytest.mark.parametrize(
    ("decision", "cause", "line"),
    [
        (Enough(spent=True), KILLED, ""),
        (Enough(), LEFT, f"{LEFT.words}; no further attempt"),
        (
            Enough("--no-restart-on 3"),
            EXIT_3,
            f"{EXIT_3.words}; no further attempt: --no-restart-on 3",
        ),
    ],
)
def test_what_is_said_of_the_end(decision: Enough, cause: Cause, line: str) -> None:
    assert enough_line(decision, cause) == line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5 s"),
        (1.94, "1.9 s"),
        (9.96, "10 s"),
        (90, "90 s"),
        (150, "2.5 min"),
        (7200, "2 h"),
    ],
)
def test_durations(value: float, text: str) -> None:
    assert duration(value) == text


def test_a_policy_in_words() -> None:
    rules = policy(restart_on="signal,75", no_restart_on="oom", backoff="1s:1m", refill="30m")
    assert list(policy_lines(rules, 3)) == [
        "all start again after signal, 75, at most 3 times, but not after oom",
        "  after a pause of 1 s, doubled up to 60 s (less up to a quarter, by chance)",
        "  counted anew once a gang has run for 30 min",
    ]
    assert list(policy_lines(RestartPolicy(), 1)) == ["all start again, at most 1 time"]
    assert len(list(policy_lines(rules, 0))) == 1


TRACE = """Traceback (most recent call last):
  File "/home/u/train.py", line 90, in <module>
    main()
  File "/home/u/train.py", line 37, in step
    raise ValueError("0x7f3a")
ValueError: {}
"""


def test_the_same_place_whatever_the_message() -> None:
    first, second = (digest("ValueError", TRACE.format(text)) for text in ("0x1", "0x2"))
    assert first == second != ""
    assert digest("TypeError", TRACE) != first
    assert digest("ValueError", TRACE.replace("37", "38")) != first
    assert digest("ValueError", "") == ""
    assert raised_at(TRACE) == "train.py:37 in step"
    assert raised_at(TRACE.replace("step", "<module>")) == "train.py:37"
    assert raised_at("nothing") == ""
