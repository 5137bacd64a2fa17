// A request that was watched, as a command. What the gateway does not show (bodies, secrets) is marked.

import { REDACTED, headerOf, urlOf, type LiveRequest } from "./types";

/** curl makes these itself. */
const OWN = ["host", "content-length", "connection", "transfer-encoding", "accept-encoding"];

/** One word of a shell. Control characters could act on a terminal it is pasted into. */
function word(text: string): string {
  const shown = text.replaceAll(/\p{Cc}/gu, "");
  return /^[\w@%+=:,./-]+$/.test(shown) ? shown : `'${shown.replaceAll("'", `'\\''`)}'`;
}

/** How many values would have to be filled in. */
export function redactedIn(request: LiveRequest): number {
  const { target = "", headers } = request.received;
  return [target, ...headers.map(([, value]) => value)].join("\n").split(REDACTED).length - 1;
}

function hasBody(request: LiveRequest): boolean {
  const length = headerOf(request.received, "content-length");
  return (length !== undefined && length !== "0") || headerOf(request.received, "transfer-encoding") !== undefined;
}

/** `notes` say, in the reader's language, what has to be filled in. */
export function curl(request: LiveRequest, notes: { redacted: string; body: string; truncated: string }): string {
  const { method = "GET", headers, truncated } = request.received;
  const told = [
    redactedIn(request) > 0 ? notes.redacted : "",
    hasBody(request) ? notes.body : "",
    truncated ? notes.truncated : "",
  ];
  const comments = told.filter((note) => note !== "").map((note) => `# ${note}`);
  // Brackets in a URL would be a pattern to curl, and `..` would be gone.
  const words = ["curl", "--globoff", "--path-as-is"];
  if (method === "HEAD") words.push("--head");
  else if (method !== "GET") words.push("-X", word(method));
  const lines = headers
    .filter(([name]) => !OWN.includes(name.toLowerCase()))
    .map(([name, value]) => `-H ${word(value === "" ? `${name};` : `${name}: ${value}`)}`);
  const command = [[...words, word(urlOf(request))].join(" "), ...lines].join(" \\\n  ");
  return [...comments, command].join("\n");
}
