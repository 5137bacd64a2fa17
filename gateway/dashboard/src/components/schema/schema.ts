// The part of JSON Schema that the gateway's own descriptions use, and what a form makes of it.

export interface Schema {
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  enum?: unknown[];
  const?: unknown;
  oneOf?: Schema[];
  anyOf?: Schema[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
  $ref?: string;
  description?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  example?: unknown;
  examples?: unknown[];
  readOnly?: boolean;
}

/** How a value is edited. */
export type Shape = "text" | "lines" | "number" | "integer" | "switch" | "choice" | "list" | "map" | "object" | "json";

export interface Resolved extends Schema {
  shape: Shape;
  /** It may be left out by null, too. */
  isNullable: boolean;
  choices: { value: unknown; description: string | undefined }[];
}

/** A document that `$ref`s point into. */
export type Root = Record<string, unknown>;

function follow(schema: Schema, root: Root): Schema {
  let found = schema;
  for (let depth = 0; found.$ref !== undefined && depth < 20; depth += 1) {
    const target = found.$ref
      .replace(/^#\//, "")
      .split("/")
      .reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[decode(part)], root);
    const { $ref: _, ...own } = found;
    found = { ...(target as Schema), ...own };
  }
  return found;
}

function decode(part: string): string {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}

const isNull = (schema: Schema) => schema.type === "null";

/** What a schema comes to: its references followed, `null` told apart, and how it is edited. */
export function resolve(given: Schema, root: Root): Resolved {
  let schema = follow(given, root);
  let isNullable = false;
  const alternatives = schema.oneOf ?? schema.anyOf;
  if (alternatives?.some(isNull)) {
    isNullable = true;
    const others = alternatives.filter((one) => !isNull(one));
    const { oneOf: _, anyOf: __, ...own } = schema;
    const only = others.length === 1 ? others[0] : undefined;
    schema = only ? follow({ ...only, ...own, description: own.description ?? only.description }, root) : { ...own, oneOf: others };
  }
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((type) => type !== "null");
    isNullable ||= types.length < schema.type.length;
    schema = { ...schema, type: types.length === 1 ? types[0] : types };
  }
  const choices = choicesOf(schema, root);
  return { ...schema, isNullable, choices, shape: shapeOf(schema, choices.length > 0, root) };
}

function choicesOf(schema: Schema, root: Root): Resolved["choices"] {
  if (schema.enum) return schema.enum.map((value) => ({ value, description: undefined }));
  const alternatives = (schema.oneOf ?? schema.anyOf)?.map((one) => follow(one, root));
  const isChoice = alternatives?.every((one) => one.const !== undefined || one.enum?.length === 1);
  if (!alternatives || !isChoice) return [];
  return alternatives.map((one) => ({ value: one.const ?? one.enum?.[0], description: one.description }));
}

function shapeOf(schema: Schema, isChoice: boolean, root: Root): Shape {
  if (isChoice) return "choice";
  switch (schema.type) {
    case "string":
      return "text";
    case "integer":
      return schema.minimum === 0 && schema.maximum === 1 ? "switch" : "integer";
    case "number":
      return "number";
    case "boolean":
      return "switch";
    case "array":
      return schema.items && follow(schema.items, root).type === "string" ? "list" : "json";
    case "object": {
      if (schema.properties) return "object";
      const values = schema.additionalProperties;
      return typeof values === "object" && follow(values, root).type === "string" ? "map" : "json";
    }
    default:
      return "json";
  }
}

/** An object without a field, or with another value of it. What is empty is left out. */
export function withField(object: Record<string, unknown>, name: string, value: unknown): Record<string, unknown> {
  const { [name]: _, ...rest } = object;
  if (value === undefined) return rest;
  // Fields keep their order.
  return name in object
    ? Object.fromEntries(Object.entries(object).map(([key, old]) => [key, key === name ? value : old]))
    : { ...object, [name]: value };
}

/** Names of fields at a place of a text that is JSON or YAML, for completion. */
export function propertiesAt(schema: Schema, path: string[], root: Root): Record<string, Schema> {
  let at = resolve(schema, root);
  for (const part of path) {
    const next = at.properties?.[part] ?? (typeof at.additionalProperties === "object" ? at.additionalProperties : undefined);
    if (!next) return {};
    at = resolve(next, root);
  }
  return at.properties ?? {};
}
