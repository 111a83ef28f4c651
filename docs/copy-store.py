"""Copies everything from the database of one MLflow into that of another of the same schema revision: `copy-store.py SOURCE TARGET`.

Both are addresses as MLflow takes them, mysql+pymysql://… or postgresql+psycopg2://…. The content of the target is replaced, in one transaction.
Needs what the image of MLflow holds, and PyMySQL where the source is MySQL. No server may write at the same time.
"""

import sys

from sqlalchemy import Boolean, MetaData, create_engine, insert, select, text


def tables_of(connection):
    metadata = MetaData()
    metadata.reflect(connection)
    return metadata


def revision(connection):
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def copy(reading, writing):
    source, target = tables_of(reading), tables_of(writing)
    if revision(reading) != revision(writing):
        sys.exit(f"the schemas differ, {revision(reading)} and {revision(writing)}: run `mlflow db upgrade` of one MLflow on both")
    tables = [table for table in target.sorted_tables if table.name != "alembic_version"]  # what others refer to comes first
    writing.execute(text("TRUNCATE " + ", ".join(f'"{table.name}"' for table in tables)))
    for table in tables:
        columns = [column.name for column in table.columns if column.computed is None]
        booleans = [name for name in columns if isinstance(table.c[name].type, Boolean)]  # numbers in MySQL
        rows = reading.execute(select(*(source.tables[table.name].c[name] for name in columns))).mappings()
        copied = 0
        for batch in rows.partitions(1000):
            writing.execute(insert(table), [{**row, **{name: None if row[name] is None else bool(row[name]) for name in booleans}} for row in batch])
            copied += len(batch)
        for name in columns:
            go_on_counting(writing, table.name, name)
        if copied:
            print(f"{table.name}: {copied}")


def go_on_counting(writing, table, column):
    sequence = writing.execute(text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": f'"{table}"', "column": column}).scalar()
    if sequence:
        writing.execute(text(f"SELECT setval('{sequence}', coalesce((SELECT max(\"{column}\") FROM \"{table}\"), 0) + 1, false)"))


with create_engine(sys.argv[1]).connect() as reading, create_engine(sys.argv[2]).begin() as writing:
    copy(reading.execution_options(stream_results=True), writing)
