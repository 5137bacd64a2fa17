"""Makes a session with a TLS server and offers it again. Prints, for each pair of names, whether it was resumed.

resume.py PORT VERSION FROM TO [CERTIFICATE KEY]
"""

import socket
import ssl
import sys


def main(port: int, version: str, first: str, second: str, *identity: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    if identity:
        context.load_cert_chain(*identity)
    session = None
    for name in (first, second):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as tcp:
            try:
                with context.wrap_socket(tcp, server_hostname=name, session=session) as tls:
                    tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                    answer = b""
                    while chunk := tls.recv(4096):
                        answer += chunk
                    print(answer.split(b" ")[1].decode(), "resumed" if tls.session_reused else "full")
                    session = tls.session
            except (ssl.SSLError, ConnectionError) as e:
                print("refused", type(e).__name__)
                return


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
