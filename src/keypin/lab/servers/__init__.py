"""The servers of the lab, honest and not, and the networks before them, with their records.

    server         Server: TLS or plain
    applications   what a server does inside TLS: Http, Echo, Silent
    mail           Smtp, Imap, with and without STARTTLS
    websocket      WebSocketEcho
    http2, http3   Http2, Http3Server
    proxy          ConnectProxy: tunnels, or intercepts
    mitmproxy      the real mitmproxy, with records
    paths          Detour, CutPath, SlowPath: networks that lead elsewhere, cut, or are slow
    misbehaving    MisbehavingServer: shows certificates without holding their key
    malformed      MalformedServer: Certificate messages that are none
    renegotiation  RenegotiatingServer: changes its certificate in mid-connection
    fuzzing        FuzzingProxy, MutatingServer: handshakes altered on the way, or by the server
    mutation       Mutator: what is altered in a handshake; repeatable by its seed

And what they are made of:

    listener       what all servers have in common
    connection     Connection, Request: the records
    streams        the bytes inside and outside TLS
    watch          whether all that came has been looked at
    contexts       TLS settings, and the view into the handshake
    _libraries     what some are made of, imported when it is needed
"""
