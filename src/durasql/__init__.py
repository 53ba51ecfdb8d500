"""durasql: durable SQL workflows on any PostgreSQL, without an extension.

The pipeline, one arrow a stage:

    text --parse--> Workflow --check--> CheckedWorkflow --lower--> Program --put--> df.programs
    df.start writes an instance --claim--> Claim --ready--> instructions --perform--> Outcome
    --record--> journal rows --finish--> Result

`durasql.syntax`, `check`, `lower` and `bytecode` are the front half and need no database;
`durasql_runtime` is the interpreter. Importing this module loads nothing heavy.
"""

__version__ = "0.1.0"
