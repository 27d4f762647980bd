"""Where customers are stored."""

from foldline_command.customers.model import Customer
from foldline_command.database import aggregate_table
from foldline_command.unit_of_work import Repository

CUSTOMERS = Repository(Customer, aggregate_table("customers"))
