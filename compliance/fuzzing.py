# -*- coding: utf-8 -*-
"""Receives a specification as JSON on standard input · plays the cases of Autobahn|Testsuite as a client or as a server
and leaves its reports in the directory that the specification names · owns the one place that runs under the suite's
interpreter, Python 2.7, and must be read by it.

The suite's own command listens on a port chosen beforehand and on every address; this one takes a free port of the
loopback interface, says which on standard output, and ends with its standard input.
"""

import json
import sys

import autobahntestsuite.fuzzing as suite
from twisted.internet import reactor, stdio
from twisted.protocols.basic import LineReceiver


class Until(LineReceiver):
    """Ends the program when nobody holds the other end of standard input any more."""

    delimiter = b"\n"

    def lineReceived(self, line):
        """Nothing is said after the specification."""

    def connectionLost(self, reason):
        """Whoever started this has gone."""
        if reactor.running:
            reactor.stop()


def serve(spec):
    """Lets clients play the cases; the first line of output is the port."""
    # The factory wants an address before there is one.
    factory = suite.FuzzingServerFactory(dict(spec, url="ws://127.0.0.1:1"))
    port = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
    factory.setSessionParameters(url="ws://127.0.0.1:{}".format(port), server="Autobahn")
    return {"port": port, "cases": len(factory.specCases)}


def cases():
    """Every case that the suite has."""
    parts = (suite.CaseSetname, suite.CaseBasename, suite.Cases, suite.CaseCategories, {})
    return sorted(suite.CaseSet(*parts).CasesById)


def main():
    """Plays what is specified; with the argument "cases" lists all that could be."""
    if sys.argv[1:] == ["cases"]:
        sys.stdout.write(json.dumps(cases()))
        return
    spec = json.loads(sys.stdin.readline())
    output, sys.stdout = sys.stdout, sys.stderr
    stdio.StandardIO(Until())
    if "servers" in spec:
        factory = suite.FuzzingClientFactory(spec)
        ready = {"cases": len(factory.specCases)}
    else:
        ready = serve(spec)
    output.write(json.dumps(ready) + "\n")
    output.flush()
    reactor.run()


if __name__ == "__main__":
    main()
