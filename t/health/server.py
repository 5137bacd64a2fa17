"""The standard gRPC health service, of the package grpcio-health-checking.

Prints its port. `/t.Control/Set` takes `NAME=STATUS` and sets it.
"""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

servicer = health.HealthServicer()


def set_status(request, context):
    name, status = request.decode().split("=")
    servicer.set(name, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    return b"ok"


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    if "without" not in sys.argv:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    control = {"Set": grpc.unary_unary_rpc_method_handler(set_status)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Control", control),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port)
    server.wait_for_termination()


main()
