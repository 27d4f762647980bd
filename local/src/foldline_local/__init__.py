"""The real services and the Foldline processes on one machine, without root and without system packages.

This room exists so that `make up`, the tests and the benchmarks run against PostgreSQL, Kafka, Debezium, MongoDB,
ClickHouse and Elasticsearch themselves rather than against imitations. It knows how to fetch them, how to start
them in order of readiness under a supervisor, and how to keep their data; it knows nothing about orders.
"""
