"""An OTLP collector for tests: receiver.py http|grpc|hang [CERT KEY]. Prints its port, then each span as a line of JSON."""

import json
import ssl
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.trace.v1 import trace_pb2


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    keys = [pair.key for pair in pairs]
    assert len(keys) == len(set(keys)), f"a key twice in {keys}"
    return {pair.key: value(pair.value) for pair in pairs}


def tell(message, headers):
    lines = []
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                lines.append({
                    "resource": attributes(resource.resource.attributes),
                    "scope": scope.scope.name,
                    "headers": headers,
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    "status": trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": attributes(span.attributes),
                })
    # One call for all: lines of several threads must not mix.
    sys.stdout.write("".join(json.dumps(line) + "\n" for line in lines))
    sys.stdout.flush()


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.hangs:
            threading.Event().wait()
        assert self.path == "/v1/traces", self.path
        assert self.headers["Content-Type"] == "application/x-protobuf", self.headers["Content-Type"]
        tell(messages.ExportTraceServiceRequest.FromString(body), {k.lower(): v for k, v in self.headers.items()})
        answer = messages.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Grpc(services.TraceServiceServicer):
    def Export(self, request, context):
        tell(request, {k: v for k, v in context.invocation_metadata() if isinstance(v, str)})
        return messages.ExportTraceServiceResponse()


if sys.argv[1] == "grpc":
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    services.add_TraceServiceServicer_to_server(Grpc(), server)
    if len(sys.argv) > 2:
        pair = tuple(open(file, "rb").read() for file in (sys.argv[3], sys.argv[2]))
        print(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair])), flush=True)
    else:
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
else:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    server.daemon_threads = True
    server.hangs = sys.argv[1] == "hang"
    if len(sys.argv) > 2:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[2], sys.argv[3])
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    server.serve_forever()
