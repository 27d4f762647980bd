"""The rules of an order: each one that can be broken, with the problem type that says so."""

from foldline_command.rules import Refused
from foldline_contracts.problems import ProblemType


class OrderExists(Refused):
    """An order with this id was placed before."""

    problem = ProblemType(
        "order-exists", 409, "Order exists", "An order with this id was placed before."
    )


class OrderNotFound(Refused):
    """No order has this id."""

    problem = ProblemType("order-not-found", 404, "Order not found", "No order has this id.")


class ItemNotFound(Refused):
    """The order has no such item."""

    problem = ProblemType(
        "item-not-found", 404, "Item not found", "The order has no item of this product."
    )


class NotOpen(Refused):
    """Items, address and submission belong to a CREATED order."""

    problem = ProblemType(
        "order-not-open",
        409,
        "Order not open",
        "Items, address and submission are for an order that is CREATED.",
    )


class OrderEmpty(Refused):
    """An order without items cannot be submitted."""

    problem = ProblemType(
        "order-empty", 409, "Order empty", "An order without items cannot be submitted."
    )


class PriceMismatch(Refused):
    """The product is in the order at another price."""

    problem = ProblemType(
        "price-mismatch",
        409,
        "Price mismatch",
        "The product is in the order already, at another unit price.",
    )


class QuantityTooLarge(Refused):
    """Quantities of one product add up to too many."""

    problem = ProblemType(
        "quantity-too-large",
        409,
        "Quantity too large",
        "The quantities of a product add up to at most 1,000,000.",
    )


class TooManyItems(Refused):
    """An order has at most 500 lines."""

    problem = ProblemType(
        "too-many-items", 409, "Too many items", "An order has at most 500 items."
    )


class TotalTooLarge(Refused):
    """An order's total is bounded."""

    problem = ProblemType(
        "total-too-large", 409, "Total too large", "An order's total is at most 10^15."
    )


class NotAwaitingPayment(Refused):
    """Payments are taken while the order is SUBMITTED."""

    problem = ProblemType(
        "not-awaiting-payment",
        409,
        "Not awaiting payment",
        "Payments are taken while an order is SUBMITTED.",
    )


class PaymentConflict(Refused):
    """The payment id was used with another amount or method."""

    problem = ProblemType(
        "payment-conflict",
        409,
        "Payment conflict",
        "This paymentId was received before, with another amount or method.",
    )


class Overpayment(Refused):
    """More than is due."""

    problem = ProblemType(
        "overpayment",
        409,
        "Overpayment",
        "The payment is more than what is due; `due` says how much is.",
    )


class NotPaid(Refused):
    """Only a PAID order ships."""

    problem = ProblemType(
        "order-not-paid", 409, "Order not paid", "An order ships once it is PAID."
    )


class NotShipped(Refused):
    """Only a SHIPPED order is delivered."""

    problem = ProblemType(
        "order-not-shipped", 409, "Order not shipped", "An order is delivered once it is SHIPPED."
    )


class NotCancellable(Refused):
    """Shipped, delivered or cancelled orders stay as they are."""

    problem = ProblemType(
        "order-not-cancellable",
        409,
        "Order not cancellable",
        "An order is cancelled while CREATED, SUBMITTED or PAID.",
    )
