"""Routes of top-ups, their settings and promotions."""

from __future__ import annotations

from buffmoney.base.http import Route
from buffmoney.collection import promotions, top_up_settings, top_ups

_TRY_AGAIN = ("redis_unavailable", "core_unavailable", "outcome_unknown", "overloaded")

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/top-up-settings",
        handler=top_up_settings.get_settings,
        summary="Get what customers may buy",
        tag="Top-ups",
        answer=top_up_settings.TopUpSettings,
    ),
    Route(
        method="PUT",
        path="/v1/top-up-settings",
        handler=top_up_settings.put_settings,
        summary="Set what customers may buy",
        tag="Top-ups",
        description="Replaces all of it, for top-ups made from now on.",
        body=top_up_settings.TopUpSettings,
        answer=top_up_settings.TopUpSettings,
        errors=("invalid_amount",),
        body_example={"tiers": ["30", "100", "300", "1000"], "freeAmounts": {"minimum": "1", "maximum": "5000"}, "bonusValidDays": 90},
    ),
    Route(
        method="POST",
        path="/v1/promotions",
        handler=promotions.create_promotion,
        summary="Create a promotion",
        tag="Top-ups",
        description="Of all promotions that apply to a top-up, the one with the largest bonus counts.",
        body=promotions.PromotionBody,
        answer=promotions.Promotion,
        status=201,
        errors=("invalid_promotion", "invalid_amount", "invalid_time"),
        idempotency="stored",
        body_example={"name": "Buy 100, get 20", "buy": "100", "get": "20", "firstPurchaseOnly": True},
    ),
    Route(
        method="GET",
        path="/v1/promotions",
        handler=promotions.list_promotions,
        summary="List promotions",
        tag="Top-ups",
        answer=promotions.PromotionList,
    ),
    Route(
        method="POST",
        path="/v1/promotions/{promotionId}/end",
        handler=promotions.end_promotion,
        summary="End a promotion",
        tag="Top-ups",
        description="Now. Top-ups that were promised it keep it.",
        body=promotions.EndBody,
        answer=promotions.Promotion,
        errors=("promotion_not_found",),
        idempotency="stored",
    ),
    Route(
        method="POST",
        path="/v1/top-ups",
        handler=top_ups.create_top_up,
        summary="Create a top-up",
        tag="Top-ups",
        description="Send the customer to `checkoutUrl`. Once it is paid, amount and bonus become two grants in the customer's wallet.",
        body=top_ups.TopUpBody,
        answer=top_ups.TopUp,
        status=201,
        errors=("invalid_customer", "unknown_customer", "invalid_amount", "currency_mismatch", *_TRY_AGAIN),
        idempotency="stored",
        body_example={"customerExternalId": "acme", "amount": "100", "returnUrl": "https://shop.example/paid"},
    ),
    Route(
        method="GET",
        path="/v1/top-ups",
        handler=top_ups.list_top_ups,
        summary="List top-ups",
        tag="Top-ups",
        query=top_ups.TopUpQuery,
        answer=top_ups.TopUpPage,
        errors=("invalid_cursor", "invalid_customer"),
    ),
    Route(
        method="GET",
        path="/v1/top-ups/{topUpId}",
        handler=top_ups.get_top_up,
        summary="Get a top-up",
        tag="Top-ups",
        answer=top_ups.TopUp,
        errors=("top_up_not_found",),
    ),
)
