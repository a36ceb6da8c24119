"""The future of a receipt is a standard Future in every way that a caller can see."""

import asyncio
import threading
from concurrent import futures

import pytest

from syncline import Receipt, Token
from syncline.write.future import ReceiptFuture, receipt_future

RECEIPT = Receipt("c-1", Token({}))


def test_the_standard_future_is_built_as_the_cheap_one_expects() -> None:
    assert isinstance(receipt_future(), ReceiptFuture)


def test_a_result_reaches_everyone_who_waits() -> None:
    future = receipt_future()
    found: list[Receipt] = []
    threads = [threading.Thread(target=lambda: found.append(future.result(30))) for _ in range(8)]
    for thread in threads:
        thread.start()
    future.set_running_or_notify_cancel()
    future.set_result(RECEIPT)
    for thread in threads:
        thread.join(30)
    assert found == [RECEIPT] * 8
    assert future.done() and future.exception() is None


def test_one_future_wakes_nobody_who_waits_for_another() -> None:
    first, second = receipt_future(), receipt_future()
    first.set_result(RECEIPT)
    with pytest.raises(futures.TimeoutError):
        second.result(0.01)
    second.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        second.result(30)


def test_a_waiter_that_gave_up_does_not_disturb_the_others() -> None:
    future = receipt_future()
    for timeout in (0, 0.001):
        with pytest.raises(futures.TimeoutError):
            future.result(timeout)
    future.set_result(RECEIPT)
    assert future.result(0) == RECEIPT


def test_it_is_cancelled_before_it_runs_and_not_after() -> None:
    waiting, running = receipt_future(), receipt_future()
    assert running.set_running_or_notify_cancel()
    assert (waiting.cancel(), running.cancel()) == (True, False)
    assert not waiting.set_running_or_notify_cancel()
    with pytest.raises(futures.CancelledError):
        waiting.result()


def test_wait_and_as_completed_take_it() -> None:
    made = [receipt_future() for _ in range(5)]
    timer = threading.Timer(0.01, lambda: [future.set_result(RECEIPT) for future in made])
    timer.start()
    assert set(futures.as_completed(made, timeout=30)) == set(made)
    done, left = futures.wait([*made, receipt_future()], timeout=0.01)
    assert (done, len(left)) == (set(made), 1)


def test_async_code_awaits_it_and_callbacks_are_called() -> None:
    async def receipts() -> list[Receipt]:
        made = [receipt_future() for _ in range(20)]
        thread = threading.Thread(target=lambda: [future.set_result(RECEIPT) for future in made])
        waiting = [asyncio.wrap_future(future) for future in made]
        thread.start()
        return await asyncio.gather(*waiting)

    assert asyncio.run(receipts()) == [RECEIPT] * 20
    called: list[object] = []
    future = receipt_future()
    future.add_done_callback(called.append)
    future.set_result(RECEIPT)
    future.add_done_callback(called.append)
    assert called == [future, future]
