// The part of JSON Schema that the gateway's own schemas use, and how a value of it is drawn.

export interface Schema {
  $ref?: string;
  type?: string | string[];
  title?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  default?: unknown;
  example?: unknown;
  readOnly?: boolean;
}

/** The document that `$ref`s point into. */
export type Root = unknown;

export interface Option {
  value: string | number | boolean;
  description?: string;
}

export type Shape =
  | { as: "text" }
  | { as: "number"; isWhole: boolean; minimum?: number; maximum?: number }
  /** On and off; as 1 and 0 when `isNumber`. */
  | { as: "switch"; isNumber: boolean }
  | { as: "choose"; options: Option[] }
  | { as: "list"; item: Schema }
  | { as: "map"; value: Schema }
  | { as: "object"; properties: [string, Schema][]; required: string[] }
  | { as: "variants"; variants: Schema[] }
  | { as: "json" };

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function pointed(root: Root, ref: string): Schema {
  let found: unknown = root;
  for (const part of ref.replace(/^#\/?/, "").split("/")) {
    const name = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
    found = isRecord(found) ? found[name] : undefined;
  }
  return isRecord(found) ? (found as Schema) : {};
}

/** Follows `$ref` and joins `allOf`; what stands beside them goes before. */
export function resolved(schema: Schema, root: Root, depth = 0): Schema {
  if (depth > 20) return {};
  const { $ref, allOf, ...own } = schema;
  if ($ref === undefined && allOf === undefined) return schema;
  const parts = [...($ref === undefined ? [] : [pointed(root, $ref)]), ...(allOf ?? [])];
  return parts.map((part) => resolved(part, root, depth + 1)).reduce((all, part) => joined(part, all), own);
}

function joined(under: Schema, over: Schema): Schema {
  const all = { ...under, ...over };
  if (under.properties && over.properties) all.properties = { ...under.properties, ...over.properties };
  if (under.required && over.required) all.required = [...under.required, ...over.required];
  return all;
}

const isNull = (schema: Schema) => schema.type === "null" || schema.const === null;

function typesOf(schema: Schema): string[] {
  return (Array.isArray(schema.type) ? schema.type : schema.type === undefined ? [] : [schema.type]).filter((type) => type !== "null");
}

/** Whether it may be null, which the form treats as absent. */
export function isNullable(schema: Schema, root: Root): boolean {
  const { type, oneOf, anyOf } = resolved(schema, root);
  return (Array.isArray(type) && type.includes("null")) || [...(oneOf ?? []), ...(anyOf ?? [])].some(isNull);
}

/** The variants of it, nested ones too, without null. */
function variantsOf(schema: Schema, root: Root): Schema[] {
  const direct = schema.oneOf ?? schema.anyOf;
  if (!direct) return [schema];
  return direct
    .filter((variant) => !isNull(variant))
    .map((variant) => resolved(variant, root))
    .flatMap((variant) => variantsOf(variant, root));
}

function constants(schema: Schema): Option[] | undefined {
  const values = schema.enum ?? (schema.const === undefined ? undefined : [schema.const]);
  return values
    ?.filter((value): value is Option["value"] => value !== null && ["string", "number", "boolean"].includes(typeof value))
    .map((value) => ({ value, description: schema.enum ? undefined : schema.description }));
}

export function shapeOf(schema: Schema, root: Root): Shape {
  const whole = resolved(schema, root);
  if (whole.oneOf || whole.anyOf) {
    const variants = variantsOf(whole, root);
    if (variants.length === 1 && variants[0]) return shapeOf(variants[0], root);
    const options = variants.map(constants);
    if (options.length > 0 && options.every((option) => option !== undefined)) return { as: "choose", options: options.flat() };
    return variants.length > 0 ? { as: "variants", variants } : { as: "json" };
  }
  const options = constants(whole);
  if (options) return { as: "choose", options };
  const types = typesOf(whole);
  if (types.length !== 1) return whole.properties ? objectOf(whole) : { as: "json" };
  switch (types[0]) {
    case "string":
      return { as: "text" };
    case "boolean":
      return isNullable(whole, root) ? { as: "choose", options: [{ value: true }, { value: false }] } : { as: "switch", isNumber: false };
    case "integer":
    case "number":
      if (types[0] === "integer" && whole.minimum === 0 && whole.maximum === 1) return { as: "switch", isNumber: true };
      return { as: "number", isWhole: types[0] === "integer", minimum: whole.minimum, maximum: whole.maximum };
    case "array":
      return whole.items ? { as: "list", item: whole.items } : { as: "json" };
    case "object":
      return objectOf(whole);
    default:
      return { as: "json" };
  }
}

function objectOf(schema: Schema): Shape {
  const properties = Object.entries(schema.properties ?? {}).filter(([, property]) => !property.readOnly);
  if (properties.length > 0) return { as: "object", properties, required: schema.required ?? [] };
  return isRecord(schema.additionalProperties) ? { as: "map", value: schema.additionalProperties } : { as: "json" };
}

/** A value to begin with. */
export function beginning(schema: Schema, root: Root): unknown {
  const whole = resolved(schema, root);
  if (whole.default !== undefined && whole.default !== null) return structuredClone(whole.default);
  const shape = shapeOf(whole, root);
  switch (shape.as) {
    case "text":
      return "";
    case "number":
      return shape.minimum ?? 0;
    case "switch":
      return shape.isNumber ? 1 : true;
    case "choose":
      return shape.options[0]?.value;
    case "list":
      return [];
    case "variants":
      return shape.variants[0] ? beginning(shape.variants[0], root) : undefined;
    case "object":
      return Object.fromEntries(
        shape.properties.filter(([name]) => shape.required.includes(name)).map(([name, property]) => [name, beginning(property, root)]),
      );
    default:
      return {};
  }
}

/** Whether a value looks like one of this schema: enough to tell variants apart. */
export function fits(value: unknown, schema: Schema, root: Root): boolean {
  const shape = shapeOf(schema, root);
  switch (shape.as) {
    case "text":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "switch":
      return shape.isNumber ? value === 0 || value === 1 : typeof value === "boolean";
    case "choose":
      return shape.options.some((option) => option.value === value);
    case "list":
      return Array.isArray(value);
    case "map":
      return isRecord(value);
    case "object":
      return isRecord(value) && shape.required.every((name) => name in value);
    case "variants":
      return shape.variants.some((variant) => fits(value, variant, root));
    case "json":
      return true;
  }
}

/** How a variant is called. */
export function titleOf(schema: Schema, root: Root): string {
  const whole = resolved(schema, root);
  const [only, ...more] = whole.required ?? [];
  if (whole.title) return whole.title;
  if (only !== undefined && more.length === 0) return only;
  const types = typesOf(whole);
  return types.length > 0 ? types.join("/") : (whole.description ?? "");
}

/** The same record with a field set, or without it. */
export function withField(record: unknown, field: string, value: unknown): Record<string, unknown> {
  const next = isRecord(record) ? { ...record } : {};
  if (value === undefined) delete next[field];
  else next[field] = value;
  return next;
}
