"""Long steps do not starve short ones."""

import asyncio

from buffmoney.base.turnstile import Turnstile


async def test_what_is_small_goes_between_the_long_steps() -> None:
    """Proves that with ten long steps ready at once, something small that is ready then too waits for one of them, not for ten."""
    turnstile, order = Turnstile(), []

    async def long(number: int) -> None:
        async with turnstile:
            order.append(f"long {number}")

    async def small() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        order.append("small")

    await asyncio.gather(*(long(number) for number in range(10)), small())
    assert order.index("small") <= 3, order
    assert [entry for entry in order if entry != "small"] == [f"long {number}" for number in range(10)]


async def test_a_failing_step_gives_the_turn_back() -> None:
    """Proves that an exception inside does not keep the others out for ever."""
    turnstile = Turnstile()
    for _ in range(2):
        try:
            async with turnstile:
                raise ValueError
        except ValueError:
            pass
    async with asyncio.timeout(1), turnstile:
        pass
