"""Plays every case of Autobahn|Testsuite against the server and against the client's role, and compares each result
with the one that was checked in: ``python -m compliance``, or ``make conformance``.

    suite      the testsuite itself, unpacked below target/
    fuzzing    its two roles, under its own interpreter
    roles      our server and our client, each against a fuzzing peer
    results    what came of each case, and what was expected
    table      both, for people
"""
