// Where in a document an error is: the server names the field, or the line and column.

import { isMap, isScalar, isSeq, parseDocument, type ParsedNode } from "yaml";
import type { Problem } from "@/api/problem";

export interface Place {
  from: number;
  to: number;
}

export interface Fault {
  field: string;
  detail: string;
  place: Place | undefined;
  /** From 1. */
  line: number | undefined;
}

/** The offsets of a field such as `routes.shop.hosts[1]`; of as much of it as there is. Names may have dots. */
function find(root: ParsedNode | null, path: string): Place | undefined {
  let node: ParsedNode | null = root;
  let rest = path;
  let found: Place | undefined;
  while (node && rest !== "") {
    if (isMap(node)) {
      const named = node.items.filter(({ key }) => {
        const name = isScalar(key) ? String(key.value) : "";
        return name !== "" && rest.startsWith(name) && /^($|[.[])/.test(rest.slice(name.length));
      });
      const pair = named.sort((a, b) => String(b.key).length - String(a.key).length)[0];
      if (!pair) break;
      const [start] = pair.key.range;
      rest = rest.slice(String(isScalar(pair.key) ? pair.key.value : "").length).replace(/^\./, "");
      node = pair.value;
      // A text or number is marked with its name; of what has an inside only the name.
      const end: number = isScalar(node) && node.range[1] > start ? node.range[1] : pair.key.range[1];
      found = { from: start, to: end };
    } else if (isSeq(node)) {
      const index = /^\[?(\d+)\]?\.?/.exec(rest);
      const item = index ? node.items[Number(index[1])] : undefined;
      if (!index || !item) break;
      rest = rest.slice(index[0].length);
      node = item as ParsedNode;
      found = { from: node.range[0], to: node.range[1] };
    } else break;
  }
  return found;
}

function lineOf(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", at + 1)) line += 1;
  return line;
}

function atLine(text: string, line: number, column: number): Place {
  let start = 0;
  for (let count = 1; count < line; count += 1) {
    const next = text.indexOf("\n", start);
    if (next < 0) break;
    start = next + 1;
  }
  const end = text.indexOf("\n", start);
  const from = Math.min(start + Math.max(0, column - 1), end < 0 ? text.length : end);
  return { from, to: Math.min(from + 1, text.length) };
}

/** All that was wrong with a document, each at its place, in the order of the document. */
export function faults(text: string, problem: Problem): Fault[] {
  const told = problem.errors.length > 0 ? problem.errors : [{ field: "", detail: problem.message }];
  const needsTree = told.some(({ field, detail }) => field !== "" || unknownKind(detail) !== undefined);
  const root = needsTree ? parseDocument(text, { strict: false, uniqueKeys: false }).contents : null;
  const found = told.map(({ field, detail }) => {
    const written = /line (\d+),? column (\d+)/.exec(detail);
    const path = field || (unknownKind(detail) ?? "");
    const place = path !== "" ? find(root, path) : written ? atLine(text, Number(written[1]), Number(written[2])) : undefined;
    // What a parser draws below its first line is seen in the editor.
    return { field, detail: detail.split("\n")[0] ?? detail, place, line: place && lineOf(text, place.from) };
  });
  return found.sort((a, b) => (a.place?.from ?? -1) - (b.place?.from ?? -1));
}

function unknownKind(detail: string): string | undefined {
  return /there is no kind "([^"]+)"/.exec(detail)?.[1];
}
