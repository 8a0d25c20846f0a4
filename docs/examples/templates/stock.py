"""A hybrid: the stock of a shop. Whoever changes it says so; a check each 5 s finds what nobody said."""

from collections import Counter

from quart import Blueprint

from realtime.actors.declared import hybrid
from realtime.plugins import Services

STOCK = Counter(apples=3, pears=5)


@hybrid(topic="stock", every=5.0, type="stock_update")
async def stock() -> dict[str, int]:
    return dict(STOCK)


def routes(services: Services) -> Blueprint:
    shop = Blueprint("shop", __name__)

    @shop.post("/shop/<item>")
    async def sell(item: str) -> dict[str, int]:
        STOCK[item] -= 1
        stock.notify()
        return {"left": STOCK[item]}

    return shop
