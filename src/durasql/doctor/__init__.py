"""What is wrong with an installation, found before its users do. In: a DSN. Out: findings.

    examine.py     the checks in their order, and how far they get
    patient.py     what the checks look at: a connection, and what was asked over it
    finding.py     what a check says: what, why it matters, what to do
    reaching.py client.py server.py schema.py rights.py workers.py roles.py     the checks, one function each

A check changes nothing, needs no rights beyond those of the login, and says so when it cannot tell.
"""
