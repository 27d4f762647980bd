"""Where orders are stored."""

from foldline_command.database import aggregate_table
from foldline_command.orders.model import Order
from foldline_command.unit_of_work import Repository

ORDERS = Repository(Order, aggregate_table("orders"))
