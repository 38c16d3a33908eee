"""Budgets: the requests and tokens that this run may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Budget:
    """The budgets of one run; None is no limit. Estimates count until their calls have ended."""

    max_requests: int | None = None
    max_tokens: int | None = None
    requests: int = 0
    tokens: int = 0
    reserved: int = 0

    def exceeded_by(self, tokens: int) -> str | None:
        """Returns the budget that does not allow another call of so many tokens, or None."""
        if self.max_requests is not None and self.requests >= self.max_requests:
            return f"--max-requests {self.max_requests} is used up"
        if self.max_tokens is not None and self.tokens + self.reserved + tokens > self.max_tokens:
            return (
                f"--max-tokens {self.max_tokens} does not allow another call: {self.tokens} tokens "
                f"were used, and the next may use {tokens}"
            )
        return None

    def reserve(self, tokens: int) -> None:
        """Reserves the estimate of a call that begins."""
        self.requests += 1
        self.reserved += tokens

    def settle(self, estimate: int, used: int) -> None:
        """Replaces the estimate of a call that has ended by the tokens used."""
        self.reserved -= estimate
        self.tokens += used
