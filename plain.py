"""connect() whose handshake fails otherwise than by pin; caller swallows and sends."""
import socket, ssl, time
from scene import *
from keypin.lab import *
def show(name, rec, s):
    print(f"{name:55s} app={rec.application_bytes} plain={rec.plain_bytes} {rec.application_data[:20]!r}{rec.plain_data[:20]!r} err={rec.error}")

class Raw:
    """raw TCP server recording everything after optionally stalling"""
    def __init__(self, cred=None):
        import threading
        self.l = socket.create_server(("127.0.0.1",0)); self.address=self.l.getsockname(); self.data=b""
        self.done=threading.Event()
        threading.Thread(target=self.run,daemon=True).start()
    def run(self):
        c,_=self.l.accept(); c.settimeout(3)
        try:
            while d:=c.recv(65536): self.data+=d
        except OSError: pass
        self.done.set()
def end(r, name):
    r.done.wait(4); print(f"{name:60s} plaintext request received: {REQUEST in r.data}")

# a: stalled handshake through connect(), timeout swallowed
r=Raw(); s=trusting(pinner_for(pinned())).wrap_socket(socket.socket(), server_hostname=HOST); s.settimeout(.3)
try: s.connect(r.address)
except OSError as e: print(type(e))
try: s.sendall(REQUEST)
except Exception as e: print("send:",repr(e)[:100])
s.close(); end(r,"connect() timed out, then sendall")
# b shutdown(SHUT_RD) before handshake
r=Raw(); t=socket.create_connection(r.address); s=trusting(pinner_for(pinned())).wrap_socket(t, server_hostname=HOST, do_handshake_on_connect=False)
try: s.shutdown(socket.SHUT_RD); s.sendall(REQUEST)
except Exception as e: print("send:",repr(e)[:100])
s.close(); end(r,"shutdown(SHUT_RD) before handshake, then sendall")
# c untrusted CA via connect()
import threading
class TlsThenRaw(Raw):
    def __init__(self, cred): self.cred=cred; super().__init__()
    def run(self):
        import tempfile, pathlib
        ctx=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); f=self.cred.write(pathlib.Path(tempfile.mkdtemp())); ctx.load_cert_chain(f.chain,f.key)
        c,_=self.l.accept(); c.settimeout(3); i,o=ssl.MemoryBIO(),ssl.MemoryBIO(); t=ctx.wrap_bio(i,o,server_side=True); raw=b""
        try:
            for _ in range(10):
                try: t.do_handshake()
                except ssl.SSLWantReadError: pass
                except ssl.SSLError as e: pass
                if o.pending: c.sendall(o.read())
                d=c.recv(65536)
                if not d: break
                self.data+=d; i.write(d)
        except OSError as e: pass
        self.done.set()
r=TlsThenRaw(Authority("unknown").issue(*NAMES)); s=trusting(pinner_for(pinned())).wrap_socket(socket.socket(), server_hostname=HOST); s.settimeout(3)
try: s.connect(r.address)
except OSError as e: print(type(e), str(e)[:80])
try: s.sendall(REQUEST)
except Exception as e: print("send:",repr(e)[:100])
s.close(); end(r,"connect() to untrusted CA, swallowed, then sendall")
r=TlsThenRaw(unpinned()); s=trusting(pinner_for(pinned())).wrap_socket(socket.socket(), server_hostname=HOST); s.settimeout(3)
try: s.connect(r.address)
except OSError as e: print(type(e), str(e)[:80])
try: s.sendall(REQUEST)
except Exception as e: print("send:",repr(e)[:100])
s.close(); end(r,"connect() to unpinned (refused), then sendall")
# unwrap before handshake
r=Raw(); t=socket.create_connection(r.address); s=trusting(pinner_for(pinned())).wrap_socket(t, server_hostname=HOST, do_handshake_on_connect=False)
try: u=s.unwrap(); u.sendall(REQUEST)
except Exception as e: print("unwrap:",repr(e)[:100])
try: s.settimeout(.2);s.sendall(REQUEST)
except Exception as e: print("send:",repr(e)[:100])
s.close(); end(r,"unwrap() before handshake")
# connect_ex
r=Raw(); s=trusting(pinner_for(pinned())).wrap_socket(socket.socket(), server_hostname=HOST); s.settimeout(.3)
try: print(s.connect_ex(r.address))
except OSError as e: print("connect_ex", repr(e)[:80])
try: s.sendall(REQUEST)
except Exception as e: print("send:",repr(e)[:100])
s.close(); end(r,"connect_ex timed out, then sendall")
# asyncore style: connect_ex nonblocking
r=Raw(); s=trusting(pinner_for(pinned())).wrap_socket(socket.socket(), server_hostname=HOST); s.setblocking(False)
print(s.connect_ex(r.address)); time.sleep(.2)
for _ in range(3):
    try: s.send(REQUEST)
    except Exception as e: print("send:",repr(e)[:100])
try: s.sendto(REQUEST,r.address)
except Exception as e: print("sendto:",repr(e)[:100])
s.close(); end(r,"nonblocking connect_ex, send, sendto")
