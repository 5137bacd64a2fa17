// The question of the explain screen: as it is typed, as it is in a link, as it is sent, and as a command.

import type { LocationQuery, LocationQueryRaw } from "vue-router";

export interface Form {
  method: string;
  url: string;
  /** A header a line, as curl takes it. */
  headers: string;
  clientIp: string;
  hasChange: boolean;
  kind: string;
  name: string;
  deletes: boolean;
  /** The object, as JSON. */
  value: string;
}

export interface Question {
  method: string;
  url: string;
  headers?: Record<string, string | string[]>;
  client_ip?: string;
  change?: { path: string; value: unknown };
}

/** The kinds that decide about requests. */
export const CHANGEABLE = ["routes", "services", "nodes", "node-overlays", "global-plugins"] as const;
/** More than this of an object is no longer put into a link. */
const LONGEST_VALUE = 6000;
/** A field of an object, in its JSON. */
const SECRET_FIELD = /"[^"]*(secret|password|passwd|token|credential|authorization|cookie|private|key)[^"]*"\s*:/i;
const SECRET = /^(proxy-)?authorization$|cookie|token|secret|password|key/i;

export function emptyForm(): Form {
  return { method: "GET", url: "", headers: "", clientIp: "", hasChange: false, kind: "routes", name: "", deletes: false, value: "" };
}

function headerLines(text: string): [string, string][] {
  const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return lines.map((line) => {
    const colon = line.indexOf(":");
    return colon < 0 ? [line, ""] : [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
  });
}

/** Throws a SyntaxError when the object is no JSON. */
export function question(form: Form): Question {
  const headers: Record<string, string[]> = {};
  for (const [name, value] of headerLines(form.headers)) (headers[name] ??= []).push(value);
  const asked: Question = { method: form.method.trim() || "GET", url: form.url.trim() };
  const named = Object.entries(headers).map(([name, values]) => [name, values.length === 1 ? values[0] : values]);
  if (named.length > 0) asked.headers = Object.fromEntries(named);
  if (form.clientIp.trim()) asked.client_ip = form.clientIp.trim();
  if (form.hasChange) {
    const value: unknown = form.deletes ? null : JSON.parse(form.value);
    asked.change = { path: `${form.kind}/${form.name.trim()}`, value };
  }
  return asked;
}

function texts(value: LocationQuery[string] | undefined): string[] {
  return (Array.isArray(value) ? value : [value]).filter((text): text is string => typeof text === "string");
}

/** A change that fits into a link, and has nothing in it that looks like a secret. */
function isSharable(form: Form): boolean {
  if (form.deletes) return true;
  return form.value.length <= LONGEST_VALUE && !/PRIVATE KEY/.test(form.value) && !SECRET_FIELD.test(form.value);
}

/** Headers, and changes, that look like secrets are kept out of links. */
export function toQuery(form: Form): LocationQueryRaw {
  const query: LocationQueryRaw = { method: form.method, url: form.url };
  const headers = headerLines(form.headers).filter(([name]) => !SECRET.test(name));
  if (headers.length > 0) query.header = headers.map(([name, value]) => `${name}: ${value}`);
  if (form.clientIp) query.client_ip = form.clientIp;
  if (form.hasChange && isSharable(form)) {
    query.kind = form.kind;
    query.name = form.name;
    if (form.deletes) query.deletes = "true";
    else query.value = form.value;
  }
  return query;
}

/** Whether a link leaves something out. */
export function hasSecrets(form: Form): boolean {
  if (form.hasChange && !isSharable(form)) return true;
  return headerLines(form.headers).some(([name]) => SECRET.test(name));
}

export function fromQuery(query: LocationQuery): Form {
  const one = (name: string) => texts(query[name])[0] ?? "";
  const form = emptyForm();
  form.method = one("method") || "GET";
  form.url = one("url");
  form.headers = texts(query.header).join("\n");
  form.clientIp = one("client_ip");
  form.hasChange = one("kind") !== "";
  if (CHANGEABLE.some((kind) => kind === one("kind"))) form.kind = one("kind");
  form.name = one("name");
  form.deletes = one("deletes") === "true";
  form.value = one("value");
  return form;
}

/** As one word of a POSIX shell. */
export function quoted(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function asCommand(form: Form, gateway: string): string {
  const words = ["ws-cloud-gateway", "explain", "--url", quoted(gateway)];
  if (form.method !== "GET") words.push("-X", quoted(form.method));
  for (const [name, value] of headerLines(form.headers)) words.push("-H", quoted(`${name}: ${value}`));
  if (form.clientIp) words.push("--client-ip", quoted(form.clientIp));
  // A request that begins with a dash is none of the command's options.
  words.push("--", quoted(form.url));
  return words.join(" ");
}

export function asCurl(form: Form, gateway: string): string {
  const body = JSON.stringify(question(form));
  return `curl ${quoted(`${gateway}/admin/v2/explain`)} -H "X-Api-Token: $GATEWAY_TOKEN" -H 'Content-Type: application/json' -d ${quoted(body)}`;
}
