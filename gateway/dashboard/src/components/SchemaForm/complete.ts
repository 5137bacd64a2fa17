// Completion in the text editor: the fields and values that the schema allows where the cursor is.

import type { Completion, CompletionContext, CompletionResult, CompletionSource } from "@codemirror/autocomplete";
import { syntaxTree } from "@codemirror/language";
import { resolved, shapeOf, type Root, type Schema } from "./schema";

type SyntaxNode = ReturnType<ReturnType<typeof syntaxTree>["resolveInner"]>;

/** The schemas that a path may lead to. */
export function schemasAt(schema: Schema, root: Root, path: string[]): Schema[] {
  const [name, ...rest] = path;
  if (name === undefined) return [schema];
  const shape = shapeOf(schema, root);
  switch (shape.as) {
    case "object": {
      const next = shape.properties.find(([property]) => property === name)?.[1];
      return next ? schemasAt(next, root, rest) : [];
    }
    case "map":
      return schemasAt(shape.value, root, rest);
    case "list":
      return schemasAt(shape.item, root, path);
    case "variants":
      return shape.variants.flatMap((variant) => schemasAt(variant, root, path));
    default:
      return [];
  }
}

function unlisted(schema: Schema, root: Root): Schema[] {
  const shape = shapeOf(schema, root);
  if (shape.as === "list") return unlisted(shape.item, root);
  return shape.as === "variants" ? shape.variants.flatMap((variant) => unlisted(variant, root)) : [schema];
}

export function fieldsAt(schema: Schema, root: Root, path: string[]): { name: string; told?: string }[] {
  return schemasAt(schema, root, path)
    .flatMap((found) => unlisted(found, root))
    .flatMap((found) => {
      const shape = shapeOf(found, root);
      return shape.as === "object" ? shape.properties.map(([name, of]) => ({ name, told: resolved(of, root).description })) : [];
    });
}

export function valuesAt(schema: Schema, root: Root, path: string[]): unknown[] {
  return schemasAt(schema, root, path)
    .flatMap((found) => unlisted(found, root))
    .flatMap((found): unknown[] => {
      const shape = shapeOf(found, root);
      if (shape.as === "choose") return shape.options.map(({ value }) => value);
      return shape.as === "switch" ? (shape.isNumber ? [1, 0] : [true, false]) : [];
    });
}

/** In JSON: the names of the properties around the cursor, and whether it is at a name. */
function inJson(context: CompletionContext): { path: string[]; isName: boolean } {
  const path: string[] = [];
  const begun = syntaxTree(context.state).resolveInner(context.pos, -1);
  const isName = begun.name === "PropertyName" || begun.name === "Object" || begun.name === "{" || begun.name === ",";
  let skip = begun.name === "PropertyName";
  for (let node: SyntaxNode | null = begun; node; node = node.parent) {
    if (node.name !== "Property") continue;
    const name = node.getChild("PropertyName");
    if (name && !skip) path.unshift(context.state.sliceDoc(name.from, name.to).replaceAll('"', ""));
    skip = false;
  }
  return { path, isName };
}

/** In YAML: the less indented names above. */
export function inYaml(before: string): { path: string[]; isName: boolean } {
  const lines = before.split("\n");
  const last = lines.pop() ?? "";
  const value = /^\s*(?:- )?([\w-]+):\s+\S*$/.exec(last);
  let indent = last.search(/\S|$/);
  const path = value?.[1] === undefined ? [] : [value[1]];
  for (const line of lines.reverse()) {
    const found = /^(\s*)(?:- )?([\w-]+):/.exec(line);
    if (!found || found[1] === undefined || found[2] === undefined || found[1].length >= indent) continue;
    indent = found[1].length;
    path.unshift(found[2]);
  }
  return { path, isName: !value };
}

export function completions(schema: Schema, root: Root, language: "json" | "yaml"): CompletionSource {
  return (context): CompletionResult | null => {
    const word = context.matchBefore(/"?[\w-]*/);
    if (!word || (word.from === word.to && !context.explicit)) return null;
    const { path, isName } = language === "json" ? inJson(context) : inYaml(context.state.sliceDoc(0, context.pos));
    const quote = (text: string) => (language === "json" ? JSON.stringify(text) : text);
    const options: Completion[] = isName
      ? fieldsAt(schema, root, path).map(({ name, told }) => ({ label: quote(name), apply: `${quote(name)}: `, info: told, type: "property" }))
      : valuesAt(schema, root, path).map((value) => ({ label: typeof value === "string" ? quote(value) : String(value), type: "enum" }));
    return { from: word.from, options };
  };
}
