"""The walls between tenants inside the database: who may touch which table, and which of its rows (ADR 27).

`roles` names the roles, `rows` says for each table whose its rows are, `grants` what each role may do with which table,
`declaring` is how a transaction says for whom it works, `catalogue` compares all of it with a database and mends that.
"""
