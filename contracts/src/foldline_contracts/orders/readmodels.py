"""The four read models of orders: fields of their sections, by which folds write and readers read.

Primary bodies (written by the folds in `foldline_projector.orders`; null where not filled yet):

- order-summaries: `customerId, status, total, currency, itemCount, createdAt, updatedAt` and
  `lines` ({productId: [quantity, unitPrice]}, fold state). Reference body: `name`.
- order-details: `customerId, status, total, currency, itemCount, createdAt, updatedAt, items,
  shipping, payments, history, note` in the shapes of the query API. Reference body: `name, email`.
- order-analytics: `status, currency, total, submittedDate` (UTC date of OrderSubmitted's time,
  null before submission), `submittedTotal`, and `lines` as in order-summaries until submission,
  null from then on. No reference.
- order-search: `customerId, status, total, currency, itemCount, createdAt, updatedAt, note, reason,
  items, shipping` in the shapes of order-details. Reference body: `name`.

`total` is the current sum of the lines; `itemCount` is the number of lines.
"""

from foldline_contracts.readmodels import Column, ReadModel

ORDER_SUMMARIES = ReadModel(
    name="order-summaries",
    store="postgresql",
    primary="orders",
    reference="customers",
    link="customerId",
    primary_columns=(
        Column("customer_id", "customerId", "text"),
        Column("status", "status", "text"),
        Column("total", "total", "money"),
        Column("currency", "currency", "text"),
        Column("item_count", "itemCount", "integer"),
        Column("created_at", "createdAt", "time"),
        Column("updated_at", "updatedAt", "time"),
        Column("lines", "lines", "json"),
    ),
    reference_columns=(Column("customer_name", "name", "text"),),
    indexes={
        "created": "created_at, key",
        "updated": "updated_at, key",
        "total": "total, key",
        "customer_created": "customer_id, created_at, key",
        "status_created": "status, created_at, key",
    },
)

ORDER_DETAILS = ReadModel(
    name="order-details",
    store="mongodb",
    primary="orders",
    reference="customers",
    link="customerId",
)

ORDER_ANALYTICS = ReadModel(
    name="order-analytics",
    store="clickhouse",
    primary="orders",
    primary_columns=(
        Column("status", "status", "text"),
        Column("currency", "currency", "text"),
        Column("total", "total", "money"),
        Column("submitted_date", "submittedDate", "date"),
        Column("submitted_total", "submittedTotal", "money"),
        Column("lines", "lines", "json"),
    ),
)

ORDER_SEARCH = ReadModel(
    name="order-search",
    store="elasticsearch",
    primary="orders",
    reference="customers",
    link="customerId",
)
