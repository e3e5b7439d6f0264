"""Where random numbers come from: generators, seeds, and the states of generators as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fnnet.checks import instance_of, whole_number

BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


@dataclass(frozen=True, slots=True, repr=False)
class GeneratorState:
    """Where a generator of random numbers stands: a value, which drawing numbers does not change.

    Wherever fnnet takes a generator or a seed, it takes this, too, and goes on from there.

    Attributes
    ----------
    name : of the bit generator, as NumPy has it: "PCG64", say
    text : its state as JSON, for comparison and storage
    """

    name: str
    text: str

    def generator(self) -> np.random.Generator:
        """A new generator that stands there.

        Raises
        ------
        ValueError
            If NumPy has no such bit generator, or it would not stand where the state says.
        """
        import json

        if not isinstance(self.name, str) or self.name not in BIT_GENERATORS:
            raise ValueError(
                f"name: unknown bit generator {self.name!r:.99}, expected {BIT_GENERATORS}"
            )
        instance_of(str, "text", self.text)
        try:
            wanted = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"text must be a generator's state as JSON: {error!s:.99}") from None
        bit_generator = getattr(np.random, self.name)()
        try:
            bit_generator.state = wanted
        except (TypeError, ValueError, LookupError, OverflowError, AttributeError) as error:
            raise ValueError(f"rng is not a state of {self.name}: {error!s:.99}") from None
        # NumPy coerces what it is given, and takes positions outside of the generator's numbers.
        taken = bit_generator.state
        if _text(taken) != _text(wanted) or not _within(taken):
            raise ValueError(f"rng is not a state that {self.name} can be in")
        return np.random.Generator(bit_generator)

    def __repr__(self) -> str:
        return f"GeneratorState({self.name})"


# A string, because looking up numpy.random would import it.
Seed: TypeAlias = "np.random.Generator | np.random.SeedSequence | GeneratorState | int"


def generator_state(rng: np.random.Generator) -> GeneratorState:
    """The state of a generator, by value."""
    state = rng.bit_generator.state
    return GeneratorState(type(rng.bit_generator).__name__, _text(state))


def generator(rng: Seed) -> np.random.Generator:
    """The generator itself, or a new one from a state or a seed; never one seeded by the system."""
    if isinstance(rng, GeneratorState):
        return rng.generator()
    if isinstance(rng, np.random.Generator | np.random.SeedSequence):
        return np.random.default_rng(rng)
    try:
        return np.random.default_rng(whole_number("rng", rng, 0))
    except ValueError:
        error = ValueError if isinstance(rng, int) else TypeError
        message = f"rng must be a numpy.random.Generator or a seed >= 0, got {rng!r:.99}"
        raise error(message) from None


def _text(state: Mapping[str, Any]) -> str:
    import json

    return json.dumps(state, default=lambda value: value.tolist(), sort_keys=True)


def _within(state: Any) -> bool:
    """Whether positions lie inside the numbers drawn ahead: NumPy reads whatever is there."""
    position, buffered = state["state"].get("pos", 0), state.get("buffer_pos", 0)
    return bool(
        0 <= position <= 624 and 0 <= buffered <= 4 and state.get("has_uint32", 0) in (0, 1)
    )
