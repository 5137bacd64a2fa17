"""Scans a TLS listener with sslyze, and prints what it found weak, one line each."""

import sys

from sslyze import ScanCommand, Scanner, ServerNetworkLocation, ServerScanRequest

COMMANDS = {
    ScanCommand.SSL_2_0_CIPHER_SUITES,
    ScanCommand.SSL_3_0_CIPHER_SUITES,
    ScanCommand.TLS_1_0_CIPHER_SUITES,
    ScanCommand.TLS_1_1_CIPHER_SUITES,
    ScanCommand.TLS_1_2_CIPHER_SUITES,
    ScanCommand.TLS_1_3_CIPHER_SUITES,
    ScanCommand.TLS_COMPRESSION,
    ScanCommand.TLS_1_3_EARLY_DATA,
    ScanCommand.OPENSSL_CCS_INJECTION,
    ScanCommand.TLS_FALLBACK_SCSV,
    ScanCommand.HEARTBLEED,
    ScanCommand.ROBOT,
    ScanCommand.SESSION_RENEGOTIATION,
    ScanCommand.SESSION_RESUMPTION,
    ScanCommand.ELLIPTIC_CURVES,
    ScanCommand.TLS_EXTENDED_MASTER_SECRET,
}

OLD = ["ssl_2_0_cipher_suites", "ssl_3_0_cipher_suites", "tls_1_0_cipher_suites", "tls_1_1_cipher_suites"]
STRONG = ("GCM", "CHACHA20_POLY1305")
CURVES = {"X25519", "secp256r1", "secp384r1", "X25519MLKEM768"}


def main(host: str, port: int, name: str) -> None:
    where = ServerNetworkLocation(hostname=name, ip_address=host, port=port)
    scanner = Scanner()
    scanner.queue_scans([ServerScanRequest(server_location=where, scan_commands=COMMANDS)])
    found = []
    for result in scanner.get_results():
        if result.scan_result is None:
            found.append(f"the scan did not run: {result.connectivity_error_trace}")
            continue
        scan = result.scan_result

        def of(command):
            attempt = getattr(scan, command)
            if attempt.result is None:
                raise SystemExit(f"{command} did not run: {attempt.error_reason} {attempt.error_trace}")
            return attempt.result

        for command in OLD:
            found += [f"{command}: {c.cipher_suite.name}" for c in of(command).accepted_cipher_suites]
        for command in ["tls_1_2_cipher_suites", "tls_1_3_cipher_suites"]:
            accepted = of(command).accepted_cipher_suites
            print(f"{command}: {', '.join(c.cipher_suite.name for c in accepted)}")
            if not accepted:
                found.append(f"{command}: none accepted")
            for c in accepted:
                suite = c.cipher_suite.name
                forward_secret = "ECDHE" in suite or command == "tls_1_3_cipher_suites"
                if not forward_secret or not any(mark in suite for mark in STRONG):
                    found.append(f"{command}: {suite}")
        if of("tls_compression").supports_compression:
            found.append("compression")
        if of("tls_1_3_early_data").supports_early_data:
            found.append("early data")
        if of("openssl_ccs_injection").is_vulnerable_to_ccs_injection:
            found.append("CCS injection")
        if of("heartbleed").is_vulnerable_to_heartbleed:
            found.append("heartbleed")
        robot = of("robot").robot_result.name
        if not robot.startswith("NOT_VULNERABLE"):
            found.append(f"ROBOT: {robot}")
        if not of("tls_fallback_scsv").supports_fallback_scsv:
            found.append("no fallback SCSV")
        renegotiation = of("session_renegotiation")
        if renegotiation.is_vulnerable_to_client_renegotiation_dos:
            found.append("client renegotiation")
        if not renegotiation.supports_secure_renegotiation:
            found.append("no secure renegotiation")
        if not of("tls_extended_master_secret").supports_ems_extension:
            found.append("no extended master secret")
        resumption = of("session_resumption")
        print(f"resumption: id {resumption.session_id_resumption_result.name}, "
              f"ticket {resumption.tls_ticket_resumption_result.name}")
        if resumption.tls_ticket_resumption_result.name != "FULLY_SUPPORTED":
            found.append("no resumption by ticket")
        curves = [curve.name for curve in of("elliptic_curves").supported_curves or []]
        print(f"curves: {', '.join(curves)}")
        found += [f"curve {curve}" for curve in curves if curve not in CURVES]
    for weakness in found:
        print(f"WEAK {weakness}")
    print("scanned")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
