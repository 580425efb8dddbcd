"""Room that tenants share while they wait, so that none of them can take all of it. Pure.

The rule: a tenant may have as much as is then still free. One alone has half of the room at most, two have a third
each, and so on. What is free is never less than what anybody has, so whoever comes with little finds room however much
the others bring, and nothing need be kept apart for anybody.
"""


class Room:
    """Room for ``most`` of something (pushes, bytes), and what of it is taken by whom."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_tenant: dict[str, int] = {}
        self.taken = 0

    def __repr__(self) -> str:
        return f"<Room {self.taken} of {self._most} taken by {len(self._by_tenant)} tenants>"

    def of(self, tenant: str) -> int:
        """What a tenant has of it."""
        return self._by_tenant.get(tenant, 0)

    def fits(self, tenant: str, amount: int) -> bool:
        """Whether a tenant may have that much more: with it, it has no more than is left free."""
        return self._by_tenant.get(tenant, 0) + amount <= self._most - self.taken - amount

    def take(self, tenant: str, amount: int) -> None:
        """Give it to the tenant; whether it fits is the caller's to ask."""
        self._by_tenant[tenant] = self._by_tenant.get(tenant, 0) + amount
        self.taken += amount

    def give_back(self, tenant: str, amount: int) -> None:
        """Of what the tenant took, that much is free again."""
        left = self._by_tenant[tenant] - amount
        if left:
            self._by_tenant[tenant] = left
        else:
            del self._by_tenant[tenant]
        self.taken -= amount
