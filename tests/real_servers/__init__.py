"""keypin against web servers that nobody here wrote, with certificates of `keypin.lab.Authority`.

    programs       how a program is found, started and ended
    frontends      Frontend: a port and what it presents
    nginx, apache, haproxy, stunnel
                   how each is told that
    serving        RealServer: one that runs; its log, and its reload
    test_real_*    the tests

They run from files in a folder of their own, on free ports of 127.0.0.1, as root and as anybody.
"""
