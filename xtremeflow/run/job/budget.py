"""Budgets: how many requests and tokens this run may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Budget:
    """Amounts are for one run; None is no limit. Estimates count until their calls have ended."""

    max_requests: int | None = None
    max_tokens: int | None = None
    requests: int = 0
    tokens: int = 0
    reserved: int = 0

    def exceeded_by(self, tokens: int) -> str | None:
        """Which budget does not allow another call of so many tokens, if one does not."""
        if self.max_requests is not None and self.requests >= self.max_requests:
            return f"--max-requests {self.max_requests} is used up"
        if self.max_tokens is not None and self.tokens + self.reserved + tokens > self.max_tokens:
            return (
                f"--max-tokens {self.max_tokens} does not allow another call: {self.tokens} tokens "
                f"were used, and the next may use {tokens}"
            )
        return None

    def reserve(self, tokens: int) -> None:
        """A call of an estimated size begins."""
        self.requests += 1
        self.reserved += tokens

    def settle(self, estimate: int, used: int) -> None:
        """It has ended, having used so many."""
        self.reserved -= estimate
        self.tokens += used
