"""Reads /metrics as Prometheus does: parse.py ADDRESS. Prints what is there as JSON, or fails."""

import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

with urllib.request.urlopen(f"http://{sys.argv[1]}/metrics") as response:
    kind = response.headers["Content-Type"]
    text = response.read().decode()
assert kind.startswith("application/openmetrics-text"), kind
families = {}
for family in text_string_to_metric_families(text):
    assert family.name not in families, f"{family.name} twice"
    assert family.documentation, f"{family.name} has no help"
    families[family.name] = {
        "type": family.type,
        "unit": family.unit,
        "labels": sorted({label for sample in family.samples for label in sample.labels}),
        "samples": len(family.samples),
    }
print(json.dumps({"bytes": len(text), "families": families}))
