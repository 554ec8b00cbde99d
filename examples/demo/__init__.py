"""A page that shows this machine's figures and files live, and how the server fares with readers that stall.

`python -m examples.demo --file /var/log/syslog --slow 200`
"""
