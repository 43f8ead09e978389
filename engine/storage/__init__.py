"""PostgreSQL and TimescaleDB: schema, migrations, COPY writers, queries."""
